"""Says of a PNG file how large it is, and whether its paper (the first pixel) is light or dark."""

import struct
import sys
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunks(octets):
    at = len(SIGNATURE)
    while at < len(octets):
        length, kind = struct.unpack(">I4s", octets[at : at + 8])
        yield kind, octets[at + 8 : at + 8 + length]
        at += length + 12


def main(file):
    with open(file, "rb") as picture:
        octets = picture.read()
    if not octets.startswith(SIGNATURE):
        sys.exit(f"{file} is no PNG")
    parts = list(chunks(octets))
    width, height = struct.unpack(">II", parts[0][1][:8])
    rows = zlib.decompress(b"".join(data for kind, data in parts if kind == b"IDAT"))
    # Behind the first row's filter; with nothing to the left and above, every filter leaves the pixel as it is.
    red, green, blue = rows[1:4]
    paper = "light" if red + green + blue > 3 * 128 else "dark"
    print(f"{width}x{height} {paper}")


main(sys.argv[1])
