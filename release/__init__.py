"""What a release consists of: one version in all places, sdist and wheel, and the list of what the image holds.

Not its business: pushing, signing and publishing any of it, which docs/releasing.md describes.
"""
