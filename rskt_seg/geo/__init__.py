"""Reading of georeferenced and other images, and writing of label maps.

rasterio and GDAL are imported on use, never with this package.
"""

from rskt_seg.geo.area import AreaSummary, ClassArea, measure_raster
from rskt_seg.geo.cog import write_cog
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.labels import write_labels
from rskt_seg.geo.map_layers import MapLayer
from rskt_seg.geo.polygons import PolygonSummary, write_polygons
from rskt_seg.geo.provenance import write_provenance
from rskt_seg.geo.raster import MAX_PIXELS, RasterImage, read_image
from rskt_seg.geo.stretch import Stretch, parse_stretch

__all__ = [
    "MAX_PIXELS",
    "AreaSummary",
    "ClassArea",
    "Georeference",
    "MapLayer",
    "PolygonSummary",
    "RasterImage",
    "Stretch",
    "measure_raster",
    "parse_stretch",
    "read_image",
    "write_cog",
    "write_labels",
    "write_polygons",
    "write_provenance",
]
