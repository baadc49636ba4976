"""What one can play with in a notebook: each widget is a picture with controls above it.

    ClassPromptBox     type words, the masks change
    SceneDrawer        a new scene for every number, with the objects that one likes
    PictureUpload      a picture of one's own
    ProtocolSliders    background threshold, classes kept, templates
    GroupExplorer      point at a patch: its group lights up in every stage
    LiveCurves         a training that one can watch: curves, and groups of a few pictures
    CaptionBox         type a caption: its nouns, prompts and tokens
    GumbelSliders      temperature and noise of the assignment
    TimeLapse          the groups of a few pictures over a training

None computes what a control does not change: `Memory` looks at each picture once and reads each word
once. All leave a plain picture where no front end runs (GitHub, HTML), and the pictures can be had
without any widget: the functions of `figures` draw into axes that they are given.
"""

from __future__ import annotations

from ...extras import extra

with extra("widgets"):     # ahead of the modules, which import these plainly
    import anywidget  # noqa: F401
    import IPython  # noqa: F401
    import ipywidgets  # noqa: F401
    import traitlets  # noqa: F401

from .live_curves import LiveCurves
from .panel import Memory, Panel, draw_group, draw_masks, mask_figure, split_words
from .sliders import GumbelSliders, ProtocolSliders, SceneDrawer
from .text_boxes import CaptionBox, ClassPromptBox, PictureUpload
from .time_lapse import GroupExplorer, TimeLapse

__all__ = ["CaptionBox", "ClassPromptBox", "GroupExplorer", "GumbelSliders", "LiveCurves", "Memory", "Panel",
           "PictureUpload", "ProtocolSliders", "SceneDrawer", "TimeLapse", "draw_group", "draw_masks", "mask_figure",
           "split_words"]
