"""The methods that come with the package."""

from rskt_seg.methods.bicor import BICOR
from rskt_seg.methods.catseg import CATSEG
from rskt_seg.methods.clip_zeroshot import CLIP_ZEROSHOT
from rskt_seg.methods.fctl import FCTL
from rskt_seg.methods.gsnet import GSNET
from rskt_seg.methods.ovrs import OVRS
from rskt_seg.methods.rskt import RSKT_SEG
from rskt_seg.methods.wsss import PRIOR_WSSS

BUILTIN = (RSKT_SEG, BICOR, FCTL, PRIOR_WSSS, CATSEG, OVRS, GSNET, CLIP_ZEROSHOT)
