"""The pilot network: a small whole-brain U-Net at 3 mm, the embedded junior and senior.

The only room that imports torch, and only where it is used.
"""
