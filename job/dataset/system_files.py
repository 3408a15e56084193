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
        "node_modules",
        "site-packages",
        "venv",
        "_gsdata_",
        "cvs",
    )
)
# `$RECYCLE.BIN`, `$Extend` and `$WinREAgent` of Windows, `FOUND.000` of its disk check.
SYSTEM_PATTERN = re.compile(r"\$(recycle|extend|winreagent|sysreset|windows)|found\.\d{3}$")
# Folders that programs for photographs make, which hold previews of all images.
CATALOGUE = re.compile(r".+\.(lrdata|lrcat-data|photoslibrary|photolibrary|aplibrary|cocatalog)")
# `Icon\r` of macOS, what Synology keeps beside a file, and where Windows notes a download.
SYSTEM_FILE = re.compile(
    r"^icon\r$|^ehthumbs|@syno(ea|res)|[:\uf03a]zone\.identifier$", re.IGNORECASE
)


def is_system_folder(name: str) -> bool:
    """Whether a system or a tool makes folders of this name, or it is hidden."""
    plain = name.strip().lower()
    patterns = (SYSTEM_PATTERN, CATALOGUE)
    is_known = plain in SYSTEM_FOLDERS or any(pattern.match(plain) for pattern in patterns)
    return name.startswith(".") or is_known
