"""Whether the rasterio of this machine works."""


def describe_gdal() -> dict[str, str]:
    """Return the versions of rasterio and its libraries, and whether coordinate systems and rasters work.

    Returns:
        "version", "gdal", "proj", and "fault": what does not work, in one line; absent if all does.

    Raises:
        ImportError: One of them cannot be imported.
    """
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError, RasterioError
    from rasterio.io import MemoryFile
    from rasterio.warp import transform

    facts = {
        "version": rasterio.__version__,
        "gdal": rasterio.__gdal_version__,
        "proj": rasterio.__proj_version__,
    }
    try:
        transform(CRS.from_epsg(4326), CRS.from_epsg(32633), [15.0], [50.0])
        with MemoryFile() as file:
            profile = {"driver": "GTiff", "width": 1, "height": 1, "count": 1, "dtype": "uint8"}
            file.open(**profile, crs=CRS.from_epsg(32633)).close()
            with file.open() as dataset:
                if dataset.crs.to_epsg() != 32633:
                    facts["fault"] = f"EPSG:32633 is read back from a GeoTIFF as {dataset.crs}"
    except (CRSError, RasterioError) as error:
        facts["fault"] = " ".join(str(error).split())
    return facts
