"""Build an installable wheel of a trained pipeline with `spacy package`.

python tools/build_package.py training/RUN/student packages --name maral_demo --version 0.1.0

With --with-maral, the wheel of spacy-maral from this clone, without which the package cannot be
installed, is built beside it. What the package's README.md says comes from meta.json, as `spacy maral card` writes it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from spacy.cli.package import package
from spacy.util import set_dot_to_object, walk_dict
from thinc.api import Config
from wasabi import msg

from spacy_maral.data.files import MOST_CHARS, TEMPORARY, remove_abandoned, sha256
from spacy_maral.data.layout import CONFIG, RUN_FOLDER
from spacy_maral.errors import MaralError
from spacy_maral.model.neighbours import SUMS


def build_package(
    model: Path, out: Path, *, name: str, version: str, meta: Path | None = None
) -> Path:
    """Build the wheel, without leaving the build's copies of the weights behind.

    The run's own folder stays out: its diagnostics quote the text that the model learned from.

    model (Path): Folder of the pipeline.
    out (Path): Folder to write; it is made where there is none.
    name (str): Name of the package without its language.
    version (str): Version of the package.
    meta (Path): A meta.json in place of the pipeline's own.
    RETURNS (Path): The wheel.
    RAISES (MaralError): If no wheel was built.
    """
    out.mkdir(parents=True, exist_ok=True)
    # spaCy takes a README.md that is there for one that somebody wrote
    for stale in out.glob(f"*_{name}-{version}/README.md"):
        stale.unlink()
    remove_abandoned(out / name)
    prefix = f".{name[:MOST_CHARS]}."
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=TEMPORARY, dir=out) as work:
        pipeline = Path(work) / "pipeline"
        shutil.copytree(
            model, pipeline,
            ignore=lambda folder, _: [RUN_FOLDER] if Path(folder) == model else [],
        )  # fmt: skip
        remove_paths(pipeline)
        package(
            pipeline, out, meta_path=meta, name=name, version=version, create_sdist=False,
            create_wheel=True, force=True, silent=False,
        )  # fmt: skip
    folder = max(out.glob(f"*_{name}-{version}"), key=lambda path: path.stat().st_mtime)
    wheels = sorted((folder / "dist").glob("*.whl"))
    if not wheels:
        raise MaralError(
            f"spaCy built no wheel in '{folder / 'dist'}'. The messages above give the reason."
        )
    shutil.rmtree(folder / "build", ignore_errors=True)
    return wheels[-1]


def remove_paths(pipeline: Path) -> None:
    """Leave of each path in a pipeline's configuration its last part: the rest is this machine's.

    pipeline (Path): Folder of the pipeline, whose config.cfg is written anew.
    """
    path = pipeline / CONFIG
    config = Config().from_disk(path, interpolate=False)
    for keys, value in [*walk_dict(config)]:
        if isinstance(value, str) and (
            Path(value).is_absolute() or ("/" in value and Path(value).exists())
        ):
            set_dot_to_object(config, ".".join(keys), Path(value).name)
    config.to_disk(path, interpolate=False)
    for place in pipeline.glob(f"*/{SUMS}"):
        sums = json.loads(place.read_text(encoding="utf8"))
        place.write_text(json.dumps({**sums, CONFIG: sha256(path)}, indent=1), encoding="utf8")


def build_maral(folder: Path) -> Path:
    """Build the wheel of spacy-maral from this clone.

    folder (Path): Folder for the wheel.
    RETURNS (Path): The wheel.
    RAISES (MaralError): If it cannot be built.
    """
    clone = Path(__file__).parents[1]
    words = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(clone)]
    if subprocess.run([sys.executable, "-m", "pip", *words], check=False).returncode:
        raise MaralError("pip built no wheel of spacy-maral. The messages above give the reason.")
    return max(folder.glob("spacy_maral-*.whl"), key=lambda path: path.stat().st_mtime)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and build the wheel.

    arguments (list[str]): Arguments; None for those of the process.
    RETURNS (int): Exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="folder of the pipeline")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--name", required=True, help="name without its language")
    parser.add_argument("--version", required=True)
    parser.add_argument("--meta", type=Path, help="meta.json in place of the pipeline's own")
    parser.add_argument(
        "--with-maral", action="store_true", help="build the wheel of spacy-maral beside it too"
    )
    args = parser.parse_args(arguments)
    try:
        wheel = build_package(
            args.model, args.out, name=args.name, version=args.version, meta=args.meta
        )
        wheels = [*([build_maral(wheel.parent)] if args.with_maral else []), wheel]
    except MaralError as error:
        msg.fail("Cannot build the package", str(error))
        return 1
    size = f"{wheel.stat().st_size / 1e6:.0f} MB"
    msg.good(f"Wheel: {wheel} ({size})", f"pip install {' '.join(map(str, wheels))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
