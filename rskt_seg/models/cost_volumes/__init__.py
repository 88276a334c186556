"""Bricks of the models that aggregate cost volumes of CLIP: RSKT-Seg, CAT-Seg, OVRS and GSNet."""
