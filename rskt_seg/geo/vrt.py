"""Virtual rasters of GDAL: the parts of a map as one raster, with everything that its file shall state."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_layers import MapLayer
from rskt_seg.geo.names import gdal_name
from rskt_seg.windows import Window

_TYPES = {"uint8": "Byte", "uint16": "UInt16"}


def mosaic(
    parts: Sequence[tuple[Window, Path]],
    size: tuple[int, int],
    layer: MapLayer,
    georeference: Georeference | None,
) -> str:
    """Describe rasters that lie side by side as one raster.

    Args:
        parts: Where each part lies, and its file, which has the bands and the dtype of the layer.
        size: (H, W) of the whole.
        layer: What the whole shall state.
        georeference: That of the whole, or None.

    Returns:
        The text of a `.vrt` file.
    """
    height, width = size
    root = Xml.Element("VRTDataset", {"rasterXSize": str(width), "rasterYSize": str(height)})
    if georeference is not None:
        _add_georeference(root, georeference)
    for number, description in enumerate(layer.bands, start=1):
        band = Xml.SubElement(root, "VRTRasterBand", {"dataType": _TYPES[layer.dtype], "band": str(number)})
        Xml.SubElement(band, "Description").text = description
        _add_metadata(band, dict(layer.tags))
        Xml.SubElement(band, "NoDataValue").text = str(layer.nodata)
        if layer.scale is not None:
            Xml.SubElement(band, "Offset").text = "0"
            Xml.SubElement(band, "Scale").text = repr(layer.scale)
        Xml.SubElement(band, "ColorInterp").text = "Gray" if layer.colors is None else "Palette"
        if layer.colors is not None:
            table = Xml.SubElement(band, "ColorTable")
            for row in layer.colors:
                Xml.SubElement(table, "Entry", {f"c{k}": str(value) for k, value in enumerate(row, start=1)})
        for window, path in parts:
            _add_source(band, window, path, number, _TYPES[layer.dtype])
    return Xml.tostring(root, encoding="unicode")


def _add_georeference(root: Xml.Element, georeference: Georeference) -> None:
    if georeference.crs is not None:
        Xml.SubElement(root, "SRS").text = georeference.crs.to_wkt(version="WKT2_2019")
    if georeference.transform is not None:
        terms = georeference.transform.to_gdal()
        Xml.SubElement(root, "GeoTransform").text = ", ".join(repr(float(term)) for term in terms)
        return
    if georeference.gcps:
        crs = georeference.gcps_crs
        projection = "" if crs is None else crs.to_wkt(version="WKT2_2019")
        points = Xml.SubElement(root, "GCPList", {"Projection": projection})
        for number, point in enumerate(georeference.gcps, start=1):
            place = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
            names = {"Id": point.id or str(number), "Info": point.info or ""}
            Xml.SubElement(points, "GCP", names | {key: repr(float(value)) for key, value in place.items()})
    if georeference.rpcs is not None:
        _add_metadata(root, georeference.rpcs.to_gdal(), domain="RPC")


def _add_metadata(parent: Xml.Element, entries: dict[str, str], **attributes: str) -> None:
    metadata = Xml.SubElement(parent, "Metadata", attributes)
    for key, value in entries.items():
        Xml.SubElement(metadata, "MDI", {"key": key}).text = value


def _add_source(band: Xml.Element, window: Window, path: Path, number: int, kind: str) -> None:
    source = Xml.SubElement(band, "SimpleSource")
    Xml.SubElement(source, "SourceFilename", {"relativeToVRT": "0"}).text = gdal_name(path.absolute())
    Xml.SubElement(source, "SourceBand").text = str(number)
    # With its size and type stated, GDAL opens a part when its pixels are asked for.
    side = {"RasterXSize": str(window.width), "RasterYSize": str(window.height)}
    Xml.SubElement(source, "SourceProperties", side | {"DataType": kind})
    extent = {"xSize": str(window.width), "ySize": str(window.height)}
    Xml.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | extent)
    Xml.SubElement(source, "DstRect", {"xOff": str(window.left), "yOff": str(window.top)} | extent)
