"""Folders of scans: layouts of input, and the datasets of nnU-Net."""
