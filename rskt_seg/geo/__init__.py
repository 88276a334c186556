"""Georeferenced and other images: reading, and writing of label maps. rasterio is imported on use."""

from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.labels import write_labels
from rskt_seg.geo.raster import RasterImage, read_image

__all__ = ["Georeference", "RasterImage", "read_image", "write_labels"]
