"""Every log is read, or refused by name."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from hyperspy_assb.echem.log_files.vendors import read_log
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError

READ = {
    "biologic_bad/2024-01-17 15_21_57 ec-included_01_C01.mpt": 447,
    "biologic_cva_zir_peis/dataset_with_loop_01_02_CVA_DUSB0_C01.mpt": 154,
    "biologic_cva_zir_peis/multiple_techniques_dataset_01_02_CVA_C01.mpt": 2572,
    "biologic_cva_zir_peis/multiple_techniques_dataset_01_08_CVA_C01.mpt": 2295,
    "protochips/protochips_electrical.csv": 154,
    "pt_cv/Pt_poly_cv.mpt": 4473,
    "solid_state_cv/cv.mpr": 5103,
    "solid_state_cv/cv.mpt": 5103,
}
REFUSED = {
    "biologic_bad/2024-01-17 15_06_41 no-ec-nonincluded.tsv": "mass spectrometer",
    "biologic_bad/2024-01-17 15_21_57 ec-included.tsv": "mass spectrometer",
    "biologic_cva_zir_peis/dataset_with_loop_01_01_OCV_DUSB0_C01.mpt": "Open Circuit Voltage",
    "biologic_cva_zir_peis/dataset_with_loop_01_05_PEIS_DUSB0_C01.mpt": "impedances",
    "biologic_cva_zir_peis/multiple_techniques_dataset_01_01_PEIS_C01.mpt": "impedances",
    "biologic_cva_zir_peis/multiple_techniques_dataset_01_07_ZIR_C01.mpt": "impedances",
    "impulse_log/StubExperiment_Metadata.log": "no columns",
    "impulse_log/StubExperiment_Synchronized data.csv": "no columns",
    "impulse_log/invalid_protochips_file.csv": "time units",
    "impulse_log/protochips_gas_cell_no_user.csv": "no current and voltage",
    "impulse_log/random_csv_file.csv": "no columns",
    "protochips/protochips_electrothermal.csv": "nothing was swept",
    "protochips/protochips_thermal.csv": "no current and voltage",
}


def test_every_file_is_in_one_of_the_lists(shared_data: Path) -> None:
    folder = shared_data / "echem"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    texts = {name for name in files if name.endswith(("SOURCE.txt", "README.md"))}
    assert files - texts == set(READ) | set(REFUSED)


@pytest.mark.parametrize(("name", "points"), READ.items())
def test_log_is_read(shared_data: Path, name: str, points: int) -> None:
    log = read_log(shared_data / "echem" / name)
    assert log.time.size == points
    assert np.all(np.diff(log.time) > 0.0)


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_log_is_refused_by_name(shared_data: Path, name: str, why: str) -> None:
    with pytest.raises(AssbFileError, match=why) as caught:
        read_log(shared_data / "echem" / name)
    assert Path(name).name in str(caught.value)


def test_binary_and_text_of_one_measurement_agree(shared_data: Path) -> None:
    text, binary = (read_log(shared_data / "echem/solid_state_cv" / f"cv.{end}") for end in ("mpt", "mpr"))
    np.testing.assert_allclose(binary.time, text.time, rtol=0, atol=1e-9)
    np.testing.assert_allclose(binary.current, text.current, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(binary.potential, text.potential, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(binary.overload, text.overload)
    assert binary.started == text.started == datetime(2018, 1, 10, 17, 1, 24)


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


ROWS = [(0.0, 0.0, 1.0), (0.5, 1.0, 2.5), (1.25, 2.0, 4.0)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("delimiter", "decimal", "header", "encoding", "ampere"),
    [
        (",", ".", "Time (s),Voltage (V),Current (A)", "utf-8", 1.0),
        (";", ",", "Zeit;x\nTime [s];Potential [V];Current [mA]", "latin-1", 1e-3),
        ("\t", ",", "t/s\tE/V\tI/µA", "latin-1", 1e-6),
        ("\t", ",", "t/s\tEwe/V\t<I>/nA", "utf-8-sig", 1e-9),
        (",", ".", "TimeStamp,Experiment time,Voltage Measured (V),Current Measured (uA)", "utf-8", 1e-6),
    ],
)
def test_tables(
    tmp_path: Path, ending: str, delimiter: str, decimal: str, header: str, encoding: str, ampere: float
) -> None:
    stamp = ["10:00:00"] if "TimeStamp" in header else []
    lines = [delimiter.join([*stamp, *(str(v).replace(".", decimal) for v in row)]) for row in ROWS]
    log = read_log(table(tmp_path / "cv.csv", ending.join([*header.split("\n"), *lines]) + ending, encoding))
    np.testing.assert_array_equal(log.time, [0.0, 0.5, 1.25])
    np.testing.assert_array_equal(log.potential, [0.0, 1.0, 2.0])
    np.testing.assert_allclose(log.current, np.array([1.0, 2.5, 4.0]) * ampere, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty file"),
        ("Time (s),Voltage (V),Current (A)\n", "no rows"),
        ("Time (s),Voltage (V),Temperature (C)\n1,2,3\n", "column of current"),
        ("Time (s),Voltage,Current (A)\n1,2,3\n", "column of potential"),
        ("Time (s),Voltage (V),Current (A)\n0,1,1\n1,2,x\n2,3,1\n", "row 2"),
        ("Time (s),Voltage (V),Current (A)\n0,1,1\n1,2,2\n0.5,3,1\n", "runs back at row 3"),
        ("Time (s),Voltage (V),Current (A)\n0,1,1\n1,2,2\n", "at least 3"),
        ("EC-Lab ASCII FILE\nNb header lines : 40\n\nCyclic Voltammetry\n", "within its header"),
        ("EC-Lab ASCII FILE\nNb header lines : 3\ntime/s\tEwe/V\t<I>/mA\n", "no rows"),
    ],
)
def test_damaged_table_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(AssbFileError, match=why) as caught:
        read_log(table(tmp_path / "cv.csv", text))
    assert "cv.csv" in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(AssbFileNotFoundError, match=r"nothing\.mpt"):
        read_log("nothing.mpt")


@pytest.mark.parametrize("share", [0.001, 0.2, 0.7, 0.97])
def test_cut_binary_is_refused(shared_data: Path, tmp_path: Path, share: float) -> None:
    content = (shared_data / "echem/solid_state_cv/cv.mpr").read_bytes()
    path = tmp_path / "cut.mpr"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AssbFileError, match=r"cut\.mpr"):
        read_log(path)


def test_rows_without_numbers_and_repeated_times_leave(tmp_path: Path) -> None:
    text = "Time (s),Voltage (V),Current (A)\n0,0,1\n1,,2\n2,2,3\n2,2,3\n3,4,5\n"
    log = read_log(table(tmp_path / "cv.csv", text))
    assert log.time.tolist() == [0.0, 2.0, 3.0]
    assert any("1 of 5 rows" in note for note in log.notes)
    assert any("repeat" in note for note in log.notes)
