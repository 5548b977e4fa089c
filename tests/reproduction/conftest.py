from tests.cli.conftest import first_run, folder, released

__all__ = ["first_run", "folder", "released"]
