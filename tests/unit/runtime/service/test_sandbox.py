"""What the system's service could not reach is refused, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgemm.errors import InputError
from edgemm_runtime.service.sandbox import HIDDEN, require_program, require_reach, require_writable


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A folder that others may enter, in which pytest's own are for this user alone."""
    for part in (tmp_path, *tmp_path.parents):
        if part.stat().st_uid == os.getuid() and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o055)
    file = tmp_path / "opt" / "a b.edgemm"
    file.parent.mkdir(mode=0o755)
    file.write_text("")
    file.chmod(0o644)
    return file


def reach(file: Path, *groups: int) -> None:
    require_reach(file, groups=groups, hidden={})


def test_a_file_that_all_may_read_is_within_reach(opened: Path) -> None:
    reach(opened)


def test_a_closed_file_or_folder_is_named_with_what_opens_it(opened: Path) -> None:
    opened.chmod(0o640)
    with pytest.raises(InputError, match=r"chmod o\+r '.*a b\.edgemm'$"):
        reach(opened)
    reach(opened, opened.stat().st_gid)
    opened.chmod(0o604)
    with pytest.raises(InputError):
        reach(opened, opened.stat().st_gid)
    opened.chmod(0o644)
    opened.parent.chmod(0o700)
    with pytest.raises(InputError, match=r"chmod o\+x \S+/opt$"):
        reach(opened)


@pytest.mark.parametrize(
    "path",
    ["/home/pi/a", "/root/a", "/run/user/1000/a", "/tmp/a", "/var/tmp/a", "/dev/video0", "/home"],
)
def test_what_the_sandbox_hides_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"lies in .*: install edgemm and put all files under /opt/edgemm, or"):
        require_reach(Path(path), groups=())


@pytest.mark.parametrize("path", ["/opt/a", "/homes/a", "/dev/shm/a", "/srv/home/a", "/tmpfs/a"])
def test_what_only_sounds_like_it_is_not(path: str) -> None:
    require_reach(Path(path), groups=(), hidden=HIDDEN)


@pytest.mark.parametrize("path", ["/var/lib/edgemm/a", "/var/lib/private/edgemm/a"])
def test_the_state_folder_is_the_services_own_however_closed_it_is(path: str) -> None:
    require_reach(Path(path), groups=(), hidden={Path("/var/lib"): "is hidden"})
    require_writable(Path(path), option="--manage")


def test_a_home_folder_that_is_a_link_hides_where_it_leads(opened: Path) -> None:
    (opened.parent / "home").symlink_to(opened.parent, target_is_directory=True)
    with pytest.raises(InputError, match="is hidden"):
        require_reach(opened, groups=(), hidden={opened.parent / "home": "is hidden"})


def test_a_program_is_followed_through_all_its_links(opened: Path) -> None:
    """A venv's Python is a link to one that may lie in a home folder."""
    hidden = opened.parent.parent / "home"
    hidden.mkdir()
    (hidden / "python").symlink_to(opened)
    (opened.parent / "python").symlink_to("../home/python")
    with pytest.raises(InputError, match="home/python is hidden"):
        require_program(opened.parent / "python", groups=(), hidden={hidden: "is hidden"})
    require_program(opened.parent / "python", groups=(), hidden={})


def test_sockets_may_be_where_the_service_may_write() -> None:
    require_writable(Path("/run/edgemm/a.sock"), option="--manage")
    require_writable(Path("/var/lib/edgemm/a.sock"), option="--manage")
    for path in ("/run/a.sock", "/opt/edgemm/a.sock", "/run/edgemm2/a.sock"):
        with pytest.raises(InputError, match=r"give --unix-socket /run/edgemm/a\.sock$"):
            require_writable(Path(path), option="--unix-socket")
    with pytest.raises(InputError, match="at most 107 bytes"):
        require_writable(Path(f"/run/edgemm/{'ö' * 50}"), option="--unix-socket")
