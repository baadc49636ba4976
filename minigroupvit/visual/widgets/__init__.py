"""Widgets for notebooks: each is an image with controls above it.

    ClassPromptBox     type class names: the masks change
    PictureUpload      the same with an image of your own
    CaptionBox         type a caption: its nouns, prompts and tokens
    ProtocolSliders    background threshold, classes kept, templates
    SceneDrawer        a new scene for every number, with objects of the kinds you choose
    GroupExplorer      point at a patch: its group in every stage
    GumbelSliders      temperature and noise of the assignment
    LiveCurves         a training while it runs: curves, and groups of a few images
    TimeLapse          the groups of a few images over a training

A control computes again only what depends on it: `Memory` encodes each image and each class name once. Without a
kernel (GitHub, HTML) a widget is a plain image, which functions such as `mask_figure` and `draw_group` also draw
without a widget.
"""

from __future__ import annotations

from ...extras import extra

with extra("widgets"):     # before the modules below, which import the same libraries without a message
    import anywidget  # noqa: F401
    import IPython  # noqa: F401
    import ipywidgets  # noqa: F401
    import traitlets  # noqa: F401

from .live_curves import LiveCurves, train_live
from .panel import Memory, Panel, draw_group, draw_masks, mask_figure, models_figure
from .sliders import GroupExplorer, GumbelSliders, ProtocolSliders, SceneDrawer
from .text_boxes import CaptionBox, ClassPromptBox, PictureUpload
from .time_lapse import TimeLapse

__all__ = ["CaptionBox", "ClassPromptBox", "GroupExplorer", "GumbelSliders", "LiveCurves", "Memory", "Panel",
           "PictureUpload", "ProtocolSliders", "SceneDrawer", "TimeLapse", "draw_group", "draw_masks", "mask_figure",
           "models_figure", "train_live"]
