"""Tell setuptools where the packages are; pyproject.toml has everything else.

The configurations stay at the top of the repository, where Detectron2 projects have them, and are installed
as `rskt_seg/configs`.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rskt_seg", "rskt_seg.*"]), "rskt_seg.configs"],
    package_dir={"rskt_seg.configs": "configs"},
)
