"""Folders and files that operating systems, NAS boxes and tools leave among a person's own."""

import re

# Folders that operating systems, NAS boxes and tools make. All others of theirs begin with a dot.
SYSTEM_FOLDERS = frozenset(
    (
        # macOS: shadows of all files in its archives, and what its file server makes.
        "__macosx",
        "network trash folder",
        "temporary items",
        "thevolumesettingsfolder",
        # Linux, Windows.
        "lost+found",
        "system volume information",
        "recycler",
        "recycled",
        # Synology, QNAP, NetApp, Western Digital.
        "@eadir",
        "@tmp",
        "@sharebin",
        "@recycle",
        "@recently-snapshot",
        "@synoeastream",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "lost+found.000",
        # Tools.
        "__pycache__",
        "_gsdata_",
        "cvs",
    )
)
# `$RECYCLE.BIN`, `$Extend` and `$WinREAgent` of Windows, `FOUND.000` of its disk check.
SYSTEM_PATTERN = re.compile(r"\$(recycle|extend|winreagent|sysreset|windows)|found\.\d{3}$")
# `Icon\r` of macOS, and what Synology keeps beside a file.
SYSTEM_FILE = re.compile(r"^icon\r$|^ehthumbs|@syno(ea|res)", re.IGNORECASE)


def is_system_folder(name: str) -> bool:
    """Whether a system or a tool makes folders of this name, or it is hidden."""
    plain = name.strip().lower()
    is_known = plain in SYSTEM_FOLDERS or SYSTEM_PATTERN.match(plain) is not None
    return name.startswith(".") or is_known
