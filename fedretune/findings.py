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

#: CheXpert's and MIMIC-CXR's labels (Irvin et al., AAAI 2019) in CheXpert's order, without their
#: `No Finding`, which is the absence of the others.
CHEXPERT13 = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
