"""Fetches what a peer consists of from public packages into a folder, by the ordinary clients; nothing is installed."""

import os
import pathlib
import shutil
import subprocess

from .peer import CannotDo

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>corelane</groupId><artifactId>jars</artifactId><version>1</version><dependencies>
{dependencies}
</dependencies></project>
"""


def run(command, **options):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotDo(f"`{command[0]}` cannot be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CannotDo(f"`{' '.join(map(str, command[:4]))} …` failed: {said[-1] if said else done.returncode}")
    return done.stdout


def whole(folder, fill):
    """Fills a folder, once; one that was left half filled is filled anew."""
    folder = pathlib.Path(folder)
    if not folder.exists():
        half = folder.with_name(folder.name + ".part")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        fill(half)
        half.rename(folder)
    return folder


def debian(folder, roots, also=()):
    """Unpacks packages of Debian, with all packages named like `also` that the roots depend on. Returns the folder."""

    def fill(half):
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise CannotDo("apt-get and dpkg-deb are needed (Debian or Ubuntu)")
        names = set(roots)
        if also:
            shallow = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
            options = ["--recurse", *(f"--no-{kind}" for kind in shallow)]
            lines = run(["apt-cache", "depends", *options, *roots]).splitlines()
            names |= {line for line in lines if line.startswith(tuple(also))}
        packages = half / "packages"
        packages.mkdir()
        run(["apt-get", "download", "-q", *sorted(names)], cwd=packages)
        for package in sorted(packages.glob("*.deb")):
            run(["dpkg-deb", "-x", str(package), str(half)])
        shutil.rmtree(packages)

    return whole(folder, fill)


def maven(folder, coordinates):
    """The jars of artifacts and all they need. Each is group:artifact:version."""

    def fill(half):
        if not shutil.which("mvn"):
            raise CannotDo("Maven and Java 17 are needed")
        parts = (one.split(":") for one in coordinates)
        lines = "\n".join(
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
            for group, artifact, version in parts
        )
        pom = half / "pom.xml"
        pom.write_text(POM.format(dependencies=lines), encoding="ascii")
        run(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={half}", "-DincludeScope=runtime"])

    return whole(folder, fill)


def go_program(folder, module, version):
    """A program of a Go module, at a version."""

    def fill(half):
        if not shutil.which("go"):
            raise CannotDo("Go is needed")
        run(["go", "install", f"{module}@{version}"], env={**os.environ, "GOBIN": str(half)})

    return whole(folder, fill)


def go_client(folder, source, requires=()):
    """Builds one of our clients; the folder holds the program under its own name."""

    def fill(half):
        if not shutil.which("go"):
            raise CannotDo("Go is needed")
        shutil.copy(source, half / "main.go")
        run(["go", "mod", "init", "load"], cwd=half)
        for module in requires:
            run(["go", "get", module], cwd=half)
        run(["go", "build", "-o", "load", "."], cwd=half)

    return whole(folder, fill) / "load"
