"""Weight files: reading, renaming, fetching. What is loaded into which model: `rskt_seg.methods`.

Nothing is imported here, so that the manifest can be read without torch.
"""
