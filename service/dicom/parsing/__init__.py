"""From the bytes of a file to raw elements: framing, headers, implied VRs, deflated datasets."""
