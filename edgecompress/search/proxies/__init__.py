"""Zero-shot proxies: scores of an untrained network, larger meaning more capable. docs/proxies.md tells what each one measures."""

from __future__ import annotations

from edgecompress.search.proxies.az_nas import expressivity, expressivity_mean, progressivity, trainability
from edgecompress.search.proxies.batch import Batch
from edgecompress.search.proxies.common import Proxy
from edgecompress.search.proxies.fisher import fisher, fisher_mean
from edgecompress.search.proxies.grad_norm import grad_norm, grad_norm_mean
from edgecompress.search.proxies.grasp import grasp, grasp_mean
from edgecompress.search.proxies.jacob_cov import jacob_cov
from edgecompress.search.proxies.macs import macs
from edgecompress.search.proxies.meco import meco, meco_mean, meco_opt, meco_opt_mean
from edgecompress.search.proxies.naswot import naswot, naswot_mean
from edgecompress.search.proxies.params import params
from edgecompress.search.proxies.snip import snip, snip_mean
from edgecompress.search.proxies.synflow import synflow, synflow_mean
from edgecompress.search.proxies.te_nas import linear_regions, linear_regions_mean, ntk
from edgecompress.search.proxies.zen import zen, zen_mean
from edgecompress.search.proxies.zico import zico, zico_mean

__all__ = ["LABELLED", "PROXIES", "Batch", "Proxy"]

PROXIES: dict[str, Proxy] = {
    "naswot": naswot,
    "naswot_mean": naswot_mean,
    "macs": macs,
    "params": params,
    "synflow": synflow,
    "synflow_mean": synflow_mean,
    "snip": snip,
    "snip_mean": snip_mean,
    "grad_norm": grad_norm,
    "grad_norm_mean": grad_norm_mean,
    "grasp": grasp,
    "grasp_mean": grasp_mean,
    "fisher": fisher,
    "fisher_mean": fisher_mean,
    "jacob_cov": jacob_cov,
    "zico": zico,
    "zico_mean": zico_mean,
    "zen": zen,
    "zen_mean": zen_mean,
    "meco": meco,
    "meco_mean": meco_mean,
    "meco_opt": meco_opt,
    "meco_opt_mean": meco_opt_mean,
    "expressivity": expressivity,
    "expressivity_mean": expressivity_mean,
    "progressivity": progressivity,
    "trainability": trainability,
    "ntk": ntk,
    "linear_regions": linear_regions,
    "linear_regions_mean": linear_regions_mean,
}

LABELLED: frozenset[str] = frozenset({
    "snip", "snip_mean", "grad_norm", "grad_norm_mean", "grasp", "grasp_mean", "fisher", "fisher_mean", "zico", "zico_mean",
})
"""Those that look at labels."""
