"""The figures of the P4Inv paper, each from one command, made with this library's own layers.

Krämer, Köhler, Noé, "Training Invertible Linear Layers through Rank-One Perturbations", arXiv
2010.07033.
"""
