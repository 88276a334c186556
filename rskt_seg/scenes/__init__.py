"""Segmentation of rasters of any size in chunks, each a function of model, settings, raster and place."""
