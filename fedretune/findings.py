"""The findings of the public chest X-ray data sets, in their official order."""

#: NIH ChestX-ray14 (Wang et al., CVPR 2017), names as a person writes them.
NIH14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural Thickening",
    "Hernia",
)

#: The five findings of the CheXpert competition, in the order that the precursor streams them.
CHEXPERT5 = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
