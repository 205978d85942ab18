"""The LoRA study ("Less Could Be Better", arXiv 2401.12215): 18 tasks, each tuned in several ways.

A task is a model, a data set and the share of its labels that is used. What is known of the study
is in its public code (RL4M/MED-PEFT): its lists of images, and its recipes. Where the paper's
tables would be needed, nothing is known but what its abstract says.
"""
