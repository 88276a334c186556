"""Styles of QGIS: in which colours, and with which names, it shows a map when it is opened.

QGIS reads `map.qml` beside `map.tif` and the table `layer_styles` of a GeoPackage. Only what differs from its
defaults is stated.
"""

from xml.etree import ElementTree as Xml

from rskt_seg.legend import Legend

_VERSION = "3.22.0"
"""The oldest QGIS that these styles are meant for; newer ones read them too."""
_POLYGONS = "2"
"""The kind of geometry that a style is for, as QGIS numbers kinds."""


def class_style(legend: Legend) -> str:
    """Return the style of a raster of class ids: each class in its colour, under its name.

    Args:
        legend: The classes.

    Returns:
        The text of a `.qml` file.
    """
    root = _root()
    renderer = _raster_renderer(root, type="paletted", band="1")
    palette = Xml.SubElement(renderer, "colorPalette")
    for entry in legend.entries:
        attributes = {"value": str(entry.id), "label": entry.name, "color": _hex(entry.color), "alpha": "255"}
        Xml.SubElement(palette, "paletteEntry", attributes)
    return _text(root)


def share_style() -> str:
    """Return the style of a raster of 0..1, such as confidence: 0 black, 1 white.

    Returns:
        The text of a `.qml` file.
    """
    root = _root()
    renderer = _raster_renderer(root, type="singlebandgray", grayBand="1", gradient="BlackToWhite")
    stretch = Xml.SubElement(renderer, "contrastEnhancement")
    for name, value in (("minValue", "0"), ("maxValue", "1"), ("algorithm", "StretchToMinimumMaximum")):
        Xml.SubElement(stretch, name).text = value
    return _text(root)


def polygon_style(legend: Legend, attribute: str) -> str:
    """Return the style of polygons: each class filled with its colour, under its name.

    Args:
        legend: The classes.
        attribute: Name of the attribute that holds the id of the class.

    Returns:
        The text of a `.qml` file, or of an entry of `layer_styles`.
    """
    root = _root()
    renderer = Xml.SubElement(root, "renderer-v2", {"type": "categorizedSymbol", "attr": attribute})
    categories, symbols = Xml.SubElement(renderer, "categories"), Xml.SubElement(renderer, "symbols")
    for index, entry in enumerate(legend.entries):
        named = {"value": str(entry.id), "type": "integer", "label": entry.name}
        Xml.SubElement(categories, "category", {**named, "symbol": str(index), "render": "true"})
        symbol = Xml.SubElement(symbols, "symbol", {"type": "fill", "name": str(index), "alpha": "0.6"})
        fill = Xml.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1"})
        color = ",".join(map(str, (*entry.color, 255)))
        options = Xml.SubElement(fill, "Option", {"type": "Map"})
        for name, value in (("color", color), ("outline_color", color), ("outline_width", "0.2")):
            # QGIS before 3.26 reads `prop`, later ones `Option`.
            Xml.SubElement(options, "Option", {"name": name, "type": "QString", "value": value})
            Xml.SubElement(fill, "prop", {"k": name, "v": value})
    Xml.SubElement(root, "layerGeometryType").text = _POLYGONS
    return _text(root)


def _root() -> Xml.Element:
    return Xml.Element("qgis", {"version": _VERSION, "styleCategories": "Symbology"})


def _raster_renderer(root: Xml.Element, **attributes: str) -> Xml.Element:
    pipe = Xml.SubElement(root, "pipe")
    return Xml.SubElement(pipe, "rasterrenderer", {**attributes, "opacity": "1", "alphaBand": "-1"})


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _text(root: Xml.Element) -> str:
    Xml.indent(root)
    return f"<!DOCTYPE qgis>\n{Xml.tostring(root, encoding='unicode')}\n"
