"""Training and fine-tuning of a module on a data set: one function from a module to a better copy of it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgecompress.errors import ConfigError, DataError, EdgecompressError
