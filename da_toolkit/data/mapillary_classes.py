"""What Mapillary Vistas' classes are among Cityscapes' 19: certain counterparts only, as usual in the field."""

AS_CITYSCAPES: dict[str, tuple[str, ...]] = {
    "road": (
        *("construction--flat--road", "object--manhole", "marking--general"),
        *("marking--continuous--dashed", "marking--continuous--solid", "marking--continuous--zigzag"),
        *("marking--discrete--ambiguous", "marking--discrete--arrow--left", "marking--discrete--arrow--other"),
        *("marking--discrete--arrow--right", "marking--discrete--arrow--split-left-or-straight"),
        *("marking--discrete--arrow--split-right-or-straight", "marking--discrete--arrow--straight"),
        *("marking--discrete--give-way-row", "marking--discrete--give-way-single"),
        *("marking--discrete--hatched--chevron", "marking--discrete--hatched--diagonal"),
        *("marking--discrete--other-marking", "marking--discrete--stop-line", "marking--discrete--symbol--bicycle"),
        *("marking--discrete--symbol--other", "marking--discrete--text", "marking-only--continuous--dashed"),
        *("marking-only--discrete--other-marking", "marking-only--discrete--text"),
    ),
    "sidewalk": ("construction--flat--sidewalk", "construction--barrier--curb"),
    "building": ("construction--structure--building",),
    "wall": ("construction--barrier--wall",),
    "fence": ("construction--barrier--fence",),
    "pole": ("object--support--pole", "object--support--utility-pole", "object--support--pole-group"),
    "traffic light": (
        *("object--traffic-light", "object--traffic-light--general-single", "object--traffic-light--pedestrians"),
        *("object--traffic-light--general-upright", "object--traffic-light--general-horizontal"),
        *("object--traffic-light--cyclists", "object--traffic-light--other"),
    ),
    "traffic sign": (
        *("object--traffic-sign--front", "object--traffic-sign--direction-front"),
        *("object--traffic-sign--temporary-front", "object--traffic-sign--information-parking"),
    ),
    "vegetation": ("nature--vegetation",),
    "terrain": ("nature--terrain",),
    "sky": ("nature--sky",),
    "person": ("human--person", "human--person--individual", "human--person--person-group"),
    "rider": ("human--rider--bicyclist", "human--rider--motorcyclist", "human--rider--other-rider"),
    "car": ("object--vehicle--car",),
    "truck": ("object--vehicle--truck",),
    "bus": ("object--vehicle--bus",),
    "train": ("object--vehicle--on-rails",),
    "motorcycle": ("object--vehicle--motorcycle",),
    "bicycle": ("object--vehicle--bicycle",),
}
"""Class in Cityscapes' names -> Mapillary's names for it in versions 1.2 and 2.0 together. Version 2.0 divides classes
of 1.2; its parts go where the whole did."""

WITHOUT_COUNTERPART = (
    *("animal--bird", "animal--ground-animal", "construction--barrier--acoustic", "construction--barrier--ambiguous"),
    *("construction--barrier--concrete-block", "construction--barrier--guard-rail"),
    *("construction--barrier--other-barrier", "construction--barrier--road-median"),
    *("construction--barrier--road-side", "construction--barrier--separator", "construction--barrier--temporary"),
    *("construction--flat--bike-lane", "construction--flat--crosswalk-plain", "construction--flat--curb-cut"),
    *("construction--flat--driveway", "construction--flat--parking", "construction--flat--parking-aisle"),
    *("construction--flat--pedestrian-area", "construction--flat--rail-track", "construction--flat--road-shoulder"),
    *("construction--flat--service-lane", "construction--flat--traffic-island", "construction--structure--bridge"),
    *("construction--structure--garage", "construction--structure--tunnel", "marking--crosswalk-zebra"),
    *("marking--discrete--crosswalk-zebra", "marking-only--discrete--crosswalk-zebra", "nature--mountain"),
    *("nature--sand", "nature--snow", "nature--water", "object--banner", "object--bench", "object--bike-rack"),
    *("object--billboard", "object--catch-basin", "object--cctv-camera", "object--fire-hydrant"),
    *("object--junction-box", "object--mailbox", "object--parking-meter", "object--phone-booth", "object--pothole"),
    *("object--sign--advertisement", "object--sign--ambiguous", "object--sign--back", "object--sign--information"),
    *("object--sign--other", "object--sign--store", "object--street-light", "object--support--traffic-sign-frame"),
    *("object--traffic-cone", "object--traffic-sign--ambiguous", "object--traffic-sign--back"),
    *("object--traffic-sign--direction-back", "object--traffic-sign--temporary-back", "object--trash-can"),
    *("object--vehicle--boat", "object--vehicle--caravan", "object--vehicle--other-vehicle"),
    *("object--vehicle--trailer", "object--vehicle--vehicle-group", "object--vehicle--wheeled-slow"),
    *("object--water-valve", "void--car-mount", "void--dynamic", "void--ego-vehicle", "void--ground", "void--static"),
    "void--unlabeled",
)
"""All other names of both versions. A label space of one's own may include them, by these names."""

IN_CITYSCAPES = {name: cls for cls, names in AS_CITYSCAPES.items() for name in names}
"""Mapillary's name -> class in Cityscapes' names."""
