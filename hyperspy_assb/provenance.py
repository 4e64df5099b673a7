"""What was done to which file by which version, and the works to cite for the methods that were used.

A record is a plain dictionary of strings, numbers, lists and dictionaries: it goes as it is into the metadata of a
HyperSpy signal, into JSON and into a report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from hyperspy_assb.errors import AssbKeyError

__all__ = [
    "CITATIONS",
    "Citation",
    "cite",
    "compare_doses",
    "describe_file",
    "dose",
    "record",
    "series_dose",
    "to_plain",
    "versions",
]

PACKAGES = ("hyperspy-assb", "hyperspy", "exspy", "rosettasciio", "numpy", "scipy", "numba", "lmfit", "orix")
"""Distributions whose versions a record names."""


@dataclasses.dataclass(frozen=True)
class Citation:
    """A work to cite.

    Parameters
    ----------
    text
        Authors, where and when it was published.
    doi
        Digital object identifier, without the resolver.
    subject
        What of it is used here.

    Examples
    --------
    >>> print(CITATIONS["poisson"])
    W. Cash, Astrophys. J. 228, 939 (1979), doi:10.1086/156922
    """

    text: str
    doi: str
    subject: str

    def __str__(self) -> str:
        return f"{self.text}, doi:{self.doi}"


CITATIONS: Mapping[str, Citation] = {
    "valence": Citation(
        "P. Moreau, V. Mauchamp, F. Pailloux and F. Boucher, Appl. Phys. Lett. 94, 123111 (2009)",
        "10.1063/1.3109777",
        "the 4 to 7 eV band that FePO4 has and LiFePO4 has not",
    ),
    "valence_transitions": Citation(
        "M. K. Kinyanjui et al., J. Phys.: Condens. Matter 22, 275501 (2010)",
        "10.1088/0953-8984/22/27/275501",
        "interband transitions of FePO4 from 0 to 20 eV",
    ),
    "delithiation": Citation(
        "S. Kobayashi et al., Microscopy 66, 254 (2017)",
        "10.1093/jmicro/dfx012",
        "the Li content from Fe M2,3 and from valence EELS",
    ),
    "lithium": Citation(
        "M. Saitoh et al., Phys. Chem. Chem. Phys. (2018)",
        "10.1039/c8cp03390k",
        "the Li K near-edge structure of battery materials",
    ),
    "fine_structure": Citation(
        "M. K. Kinyanjui et al., J. Phys.: Condens. Matter 22, 275501 (2010)",
        "10.1088/0953-8984/22/27/275501",
        "the O K pre-edge of FePO4, which LiFePO4 has not",
    ),
    "fourier_ratio": Citation(
        "R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (Springer, 2011)",
        "10.1007/978-1-4419-9583-4",
        "plural scattering of core losses by the Fourier-ratio method",
    ),
    "cross_sections": Citation(
        "R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (Springer, 2011)",
        "10.1007/978-1-4419-9583-4",
        "Li per Fe by cross-sections, and their uncertainty",
    ),
    "mean_free_path": Citation(
        "K. Iakoubovskii et al., Microsc. Res. Tech. 71, 626 (2008)",
        "10.1002/jemt.20597",
        "the inelastic mean free path by density",
    ),
    "combined": Citation(
        "J. A. Hausman, Econometrica 46, 1251 (1978)",
        "10.2307/1913827",
        "agreement of an efficient estimate with others from the same data",
    ),
    "sum_rule": Citation(
        "R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (Springer, 2011)",
        "10.1007/978-1-4419-9583-4",
        "Fe atoms per t/lambda by the sum rule of the valence electrons",
    ),
    "false_discovery": Citation(
        "Y. Benjamini and Y. Hochberg, J. R. Stat. Soc. B 57, 289 (1995)",
        "10.1111/j.2517-6161.1995.tb02031.x",
        "pixels where FePO4 is found, with the share of false ones under control",
    ),
    "populations": Citation(
        "R. E. Kass and A. E. Raftery, J. Am. Stat. Assoc. 90, 773 (1995)",
        "10.1080/01621459.1995.10476572",
        "how much evidence for two phases or a solid solution is strong",
    ),
    "detection_limit": Citation(
        "L. A. Currie, Anal. Chem. 40, 586 (1968)",
        "10.1021/ac60259a007",
        "detection limit and decision threshold of a counting measurement",
    ),
    "poisson": Citation(
        "W. Cash, Astrophys. J. 228, 939 (1979)",
        "10.1086/156922",
        "parameter estimation from Poisson counts by maximum likelihood",
    ),
    "fourier_log": Citation(
        "D. W. Johnson and J. C. H. Spence, J. Phys. D 7, 771 (1974)",
        "10.1088/0022-3727/7/6/304",
        "single scattering by Fourier-log deconvolution",
    ),
    "cluster_permutation": Citation(
        "E. Maris and R. Oostenveld, J. Neurosci. Methods 164, 177 (2007)",
        "10.1016/j.jneumeth.2007.03.024",
        "clusters of channels that changed, by permutation",
    ),
    "max_statistic": Citation(
        "T. E. Nichols and A. P. Holmes, Hum. Brain Mapp. 15, 1 (2002)",
        "10.1002/hbm.1058",
        "p values for many bands from the largest statistic of each permutation",
    ),
    "x_ray_cross_sections": Citation(
        "D. Bote, F. Salvat, A. Jablonski and C. J. Powell, At. Data Nucl. Data Tables 95, 871 (2009)",
        "10.1016/j.adt.2009.08.001",
        "ionisation by electrons, from which factors of lines are computed",
    ),
    "cliff_lorimer": Citation(
        "G. Cliff and G. W. Lorimer, J. Microsc. 103, 203 (1975)",
        "10.1111/j.1365-2818.1975.tb03895.x",
        "composition of thin specimens from X-ray lines by k-factors",
    ),
    "zeta": Citation(
        "M. Watanabe and D. B. Williams, J. Microsc. 221, 89 (2006)",
        "10.1111/j.1365-2818.2006.01549.x",
        "composition and mass thickness from X-ray lines by zeta factors",
    ),
    "unmixing": Citation(
        "A. Teurtrie et al., Ultramicroscopy 249, 113719 (2023)",
        "10.1016/j.ultramic.2023.113719",
        "non-negative factors of X-ray maps that are tied to lines of elements",
    ),
    "gauss_newton": Citation(
        "S. Baker and I. Matthews, Int. J. Comput. Vis. 56, 221 (2004)",
        "10.1023/B:VISI.0000011205.11775.fd",
        "frames of a series placed against their mean",
    ),
    "current_noise": Citation(
        "H. D. Patterson and R. Thompson, Biometrika 58, 545 (1971)",
        "10.1093/biomet/58.3.545",
        "the share of 1/f noise in a current by restricted maximum likelihood",
    ),
    "registration": Citation(
        "M. Guizar-Sicairos, S. T. Thurman and J. R. Fienup, Opt. Lett. 33, 156 (2008)",
        "10.1364/OL.33.000156",
        "maps of two states brought on top of each other",
    ),
    "scikit-image": Citation(
        "S. van der Walt et al., PeerJ 2, e453 (2014)", "10.7717/peerj.453", "registration of maps"
    ),
    "lmfit": Citation("M. Newville et al., LMFIT", "10.5281/zenodo.598352", "fits of profiles with their errors"),
    "template_matching": Citation(
        "E. F. Rauch and L. Dupuy, Arch. Metall. Mater. 50, 87 (2005); N. Cautaerts et al., Ultramicroscopy 237, "
        "113517 (2022)",
        "10.1016/j.ultramic.2022.113517",
        "orientation mapping by template matching",
    ),
    "reliability": Citation(
        "E. F. Rauch and M. Véron, Mater. Charact. 98, 1 (2014)",
        "10.1016/j.matchar.2014.08.010",
        "index and reliability of orientations",
    ),
    "block_bootstrap": Citation(
        "S. N. Lahiri, Resampling Methods for Dependent Data (Springer, 2003)",
        "10.1007/978-1-4757-3803-2",
        "intervals of area fractions from blocks of pixels",
    ),
    "domino_cascade": Citation(
        "C. Delmas et al., Nat. Mater. 7, 665 (2008)",
        "10.1038/nmat2230",
        "particles that are wholly LiFePO4 or wholly FePO4",
    ),
    "orix": Citation(
        "D. N. Johnstone et al., J. Appl. Cryst. 53, 1293 (2020)",
        "10.1107/S1600576720011103",
        "orientations, symmetry and colours of inverse pole figures",
    ),
    "numpy": Citation("C. R. Harris et al., Nature 585, 357 (2020)", "10.1038/s41586-020-2649-2", "arrays"),
    "scipy": Citation("P. Virtanen et al., Nat. Methods 17, 261 (2020)", "10.1038/s41592-019-0686-2", "numerics"),
    "numba": Citation(
        "S. K. Lam, A. Pitrou and S. Seibert, Proc. LLVM-HPC (2015)", "10.1145/2833157.2833162", "compiled kernels"
    ),
    "hyperspy": Citation("F. de la Peña et al., HyperSpy", "10.5281/zenodo.592838", "signals, models and files"),
}
"""Works by method. The keys are what :func:`cite` takes."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that have a part in a result; those not installed are left out.

    Returns
    -------
    dict of str
        By the name of the distribution.

    Examples
    --------
    >>> sorted(versions())[:3]
    ['exspy', 'hyperspy', 'hyperspy-assb']
    """
    found = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **{name: known for name, known in found.items() if known}}


@cache
def _version(name: str) -> str:
    """Of a distribution, read once: it takes milliseconds; empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def describe_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Name, size and content hash of a file.

    Parameters
    ----------
    path
        A file, or a folder that is one to HyperSpy, such as a .zspy store: its hash is that of the names and contents
        of all files in it. Of the path only the name is kept: folders differ between machines, the content does not.

    Returns
    -------
    dict
        ``name``, ``size`` in bytes and ``sha256`` in hexadecimal.

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "map.dm4"
    >>> path.write_bytes(b"nothing")
    7
    >>> describe_file(path)["size"]
    7
    """
    path = Path(path)
    if not path.is_dir():
        return {"name": path.name, "size": path.stat().st_size, "sha256": _hash_file(path)}
    inside = sorted(entry for entry in path.rglob("*") if entry.is_file())
    whole = hashlib.sha256()
    for file in inside:
        whole.update(f"{file.relative_to(path).as_posix()}\0{_hash_file(file)}\0".encode("utf-8", "surrogatepass"))
    return {"name": path.name, "size": sum(file.stat().st_size for file in inside), "sha256": whole.hexdigest()}


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record(
    action: str,
    *,
    files: Iterable[str | PathLike[str]] = (),
    parameters: Mapping[str, Any] | None = None,
    methods: Iterable[str] = (),
    dose: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What was done, to which files, with which parameters and versions.

    Parameters
    ----------
    action
        What was done, such as ``"quantify_delithiation"``.
    files
        Files that were read.
    parameters
        Parameters of the action; arrays, enumerations, paths and dataclasses are made plain by :func:`to_plain`.
    methods
        Keys of ``CITATIONS``.
    dose
        Dose of the specimen, as returned by :func:`dose`, or by state.

    Returns
    -------
    dict
        ``action``, ``time`` (UTC, ISO 8601), ``versions``, ``files``, ``parameters``, ``citations``, and ``dose`` where
        it was given.

    Examples
    --------
    >>> entry = record("multifit", parameters={"elements": ("Li", "Fe")}, methods=["poisson"])
    >>> entry["parameters"]
    {'elements': ['Li', 'Fe']}
    >>> entry["citations"]
    ['W. Cash, Astrophys. J. 228, 939 (1979), doi:10.1086/156922']
    """
    entry = {
        "action": action,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "files": [describe_file(path) for path in files],
        "parameters": to_plain(dict(parameters or {})),
        "citations": cite(methods),
    }
    return entry if dose is None else {**entry, "dose": to_plain(dose)}


_ELEMENTARY_CHARGE = 1.602176634e-19


def dose(
    beam_current: float | None = None, dwell_time: float | None = None, area: float | None = None
) -> dict[str, float | None]:
    """Electrons that a measurement sent through a pixel; unknown values, or those stated as 0, are None, never 0.

    Parameters
    ----------
    beam_current
        nA.
    dwell_time
        s per pixel.
    area
        Of a pixel in nm².

    Returns
    -------
    dict
        ``electrons`` in a pixel and ``electrons per nm²``.

    Examples
    --------
    >>> {name: f"{value:.3g}" for name, value in dose(0.05, 0.02, 25.0).items()}
    {'electrons': '6.24e+06', 'electrons per nm²': '2.5e+05'}
    >>> dose(0.0, 0.02, 25.0)
    {'electrons': None, 'electrons per nm²': None}
    """
    known = bool(beam_current) and bool(dwell_time)
    electrons = float(beam_current or 0.0) * 1e-9 * float(dwell_time or 0.0) / _ELEMENTARY_CHARGE if known else None
    return {"electrons": electrons, "electrons per nm²": electrons / area if electrons and area else None}


def series_dose(each: float | None, frames: int) -> dict[str, Any]:
    """Dose of a series of images.

    Parameters
    ----------
    each
        Electrons per nm² in a frame; None: not known.
    frames
        How many.

    Returns
    -------
    dict
        ``electrons per nm² and frame``, ``frames``, and ``electrons per nm²`` of all of them.

    Examples
    --------
    >>> series_dose(30.0, 12)["electrons per nm²"]
    360.0
    """
    total = None if each is None else each * frames
    return {"electrons per nm² and frame": each, "frames": frames, "electrons per nm²": total}


def compare_doses(doses: Mapping[str, Mapping[str, Any]]) -> str:
    """What a reader of a comparison must know of the beam.

    Parameters
    ----------
    doses
        Records of :func:`dose` by the name of the state.

    Returns
    -------
    str
        The doses, or for which states they are not known, and that the beam alone is not.

    Examples
    --------
    >>> compare_doses({"before": dose(0.05, 0.02, 25.0), "after": dose(0.05, 0.02, 25.0)})
    'Electrons per nm²: 2.5e+05 before, 2.5e+05 after. Without a measurement under the beam ...'
    """
    known = {name: item.get("electrons per nm²") for name, item in doses.items()}
    lacking = [name for name, value in known.items() if not value]
    if lacking:
        told = (
            f"The dose of {' and '.join(lacking)} is not known: state beam current, dwell time and pixel size in the "
            "metadata, or electrons per nm² as ASSB.dose."
        )
    else:
        told = f"Electrons per nm²: {', '.join(f'{value:.3g} {name}' for name, value in known.items())}."
    return (
        f"{told} Without a measurement under the beam alone, effects of the bias and of the beam cannot be separated."
    )


def cite(methods: Iterable[str]) -> list[str]:
    """Works to cite for some methods, each once, in the order given.

    Parameters
    ----------
    methods
        Keys of ``CITATIONS``.

    Returns
    -------
    list of str
        With authors, place, year and DOI.

    Raises
    ------
    AssbKeyError
        If a method is not in ``CITATIONS``.

    Examples
    --------
    >>> cite(["poisson", "poisson"])
    ['W. Cash, Astrophys. J. 228, 939 (1979), doi:10.1086/156922']
    """
    methods = list(methods)
    unknown = [method for method in methods if method not in CITATIONS]
    if unknown:
        raise AssbKeyError(f"No citation for {unknown}; there are citations for {sorted(CITATIONS)}.")
    return list(dict.fromkeys(str(CITATIONS[method]) for method in methods))


def to_plain(value: Any) -> Any:
    """The same value out of dictionaries, lists, strings, numbers, booleans and None alone.

    Not-a-number and infinities become None, which JSON can hold. Arrays become nested lists. What has no plain form
    becomes its ``str``.

    Parameters
    ----------
    value
        Anything.

    Returns
    -------
    object
        Plain.

    Examples
    --------
    >>> to_plain({"range": (1.0, float("inf")), "mask": np.array([True, False])})
    {'range': [1.0, None], 'mask': [True, False]}
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return to_plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, PathLike):
        return Path(value).name
    if isinstance(value, Iterable):
        return [to_plain(item) for item in value]
    return str(value)
