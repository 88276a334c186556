"""What the records of RSKT-Seg, CAT-Seg, OVRS and GSNet have in common: key names, encoders, cost maps."""
