"""The drawn and rendered tumour: two models beside each other, `paper` and `glioma`, and what they share."""
