"""Install `rskt_seg`. Detectron2 is not among the requirements: see README, "About Detectron2"."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "rskt_seg/__init__.py").read_text())[1]

setup(
    name="rskt_seg",
    version=VERSION,
    description="Open-vocabulary segmentation of aerial and satellite images",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["rskt_seg", "rskt_seg.*"]),
    package_data={
        "rskt_seg.models.wsss": ["descriptions/*.json"],
        "rskt_seg.data": ["splits/*.txt"],
        "rskt_seg.metrics": ["tables/*.csv"],
        "rskt_seg.encoders": ["*.txt", "*.safetensors", "*.sha256"],
    },
    install_requires=[
        "torch>=2.6",
        "torchvision",
        "open_clip_torch>=3.0",
        "numpy>=1.26",
        "scipy>=1.15",
        "pillow>=10",
        "opencv-python-headless",
        "pycocotools",
        "rasterio>=1.4",
        "fvcore",
        "iopath",
        "safetensors",
        "huggingface_hub",
        "pyyaml",
        "tabulate",
        "matplotlib",
        "tqdm",
    ],
    extras_require={
        "detectron2-deps": ["omegaconf", "hydra-core", "yacs", "cloudpickle", "termcolor", "tensorboard"],
        "crf": ["pydensecrf2>=1.1"],
        "dev": ["pytest", "pytest-xdist", "hypothesis", "torchmetrics", "transformers", "ruff"],
    },
)
