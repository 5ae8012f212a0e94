"""The constants of the motion detector, each with where it comes from. Everything else in this folder only reads them.

Sources, where a line names no other:
    bench       tuned on the tuning plan of bench/motion.py and on samples/, November 2026 (docs/design/motion.md)
    origin      the method that clipwatch started from: difference, blur, threshold, dilate, area
    arithmetic  follows from other figures here

Lengths are px of the 320 px plane, differences grey levels of 8 bits, times seconds, shares 0..1.
"""

from __future__ import annotations

# -- The plane
PLANE_WIDTH_PX = 320  # bench: 1.2 to 2.8 ms a frame; a person 14 px tall is still found
AREA_WIDTH_PX = 640  # origin: areas in the settings are px of a picture this wide

# -- What counts as different from the baseline
FLOOR_LEVELS = (
    6.0  # smallest difference that 'auto' takes for a change; bench: 8 lost pale things, 4.5 lost walkers
)
LARGEST_NOISE = 6.0  # bench: a flickering lamp is not noise, it must not raise the threshold out of reach
HEAT_S = 0.7  # bench: a pixel counts as recently changed this long
LOOK_BACK_S = 0.3  # bench: what changed is told against the plane of so long ago

# -- How fast the baseline follows (time constants; bench)
BASELINE_S = 5.0  # quiet pixels
MOVING_S = 60.0  # pixels on which something moves
RESTING_S = 6.0  # pixels that differ but rest
GHOST_S = 1.0  # the same in the first GHOST_PHASE_S of a baseline of one frame
GHOST_PHASE_S = 8.0
LIGHT_S = 0.3  # where only the light changed; slower, a cloud drove the threshold to 45 levels
VARIANCE_S = 4.0  # variance of quiet pixels
STEADY_S = 20.0  # the steady baseline
STEADY_EVERY_S = 0.5  # how often the steady baseline is updated

# -- Things that sway (bench: 48 scenes of bushes, clouds and headlights)
ONSET_S = 20.0  # time constant of how often a pixel begins to differ
SWAY_HZ = 0.3  # a pixel that begins to differ more often sways
SWAY_SHARE = 0.25  # where frames are rare: so many beginnings a frame are swaying
SPARSE_S = 1.0  # longest interval between frames that can count beginnings, unless frames are that rare
SWAY_PX = 5  # how far beside its place a thing that sways is looked for
DISPLACED = (
    0.3  # share of the difference left over there: below it < 2 % of 2865 travelling things, all 14 bushes
)
ITSELF_S = 0.5  # not looked for so soon after a baseline of one frame: it shows the thing itself

# -- Changes of the whole scene (bench, drawn scenes)
JUMP_SHARE = (
    0.5  # share of pixels that change at once, in 3 of 4 cells, when a lamp is switched or a shot is cut
)
DROWNED_SHARE = 0.6  # when more of the picture than this differs
DROWNED_S = 2.0  # for this long, the baseline is made anew
DAMAGED_SHARE = 0.12  # so many more pixels of one level: a decoder that lost its stream paints grey
KNOWN_S = 60.0  # how long the baseline from before a change is kept
ALIKE = 0.75  # share of pixels that must be as they were for it to be taken up again
SHAKE_SHARE = 0.08  # when more of the picture than this changed, the camera may have moved
SHAKE_PX = 16.0  # the farthest such move

# -- Which patches of change are objects (bench)
MAX_BLOBS = 16  # bound
SEED_PX = 4  # a smaller patch is noise; one smaller than the smallest area grows
WEAK = 0.6  # into what differs by so much of the limit close by
BESIDE_LARGE = 8  # unless a patch of so many smallest areas is in the picture
STRONG = 1.6  # a tenth of a patch must differ by so many times the limit
STRONG_WHERE_GROWN = 1.2  # the same in a frame in which patches grew
STRUCTURE_KEPT = 0.7  # correlation of fine structure above which only the light changed
SMOOTH = (
    0.15  # an object's edge stands out of the local average by 0.3 of its height or more, light's by less
)
CROWD = 14  # more patches than this are weather; rain was one event of 40 s
STAYS = 0.6  # then an object must lie by this share where something was in the frame before
CROWD_SIZES = 3.0  # and be this many times larger than four in five patches; snow was one event of 32 s

# -- Intervals between frames
INTERVALS = 8  # so many are remembered, the shortest counts: frames left out on purpose do not
SHORTEST_PERIOD_S = 0.01  # shorter ones are two frames of one moment
LONGEST_PERIOD_S = (
    2.2  # motion can be told from 0.5 frames a second on (tests/unit/motion/events/test_rates.py)
)

# -- Tracks (bench)
DOUBT_PHASE_S = 3.0  # a bush grows out of its first place: so long on a baseline of one frame
DOUBT = 2.0  # a way must be so many times longer
SURE_S = 1.0  # what has been on its way this long is no dash that every frame is needed for
WINDOW_S = 1.5  # positions that are taken into account
KEEP_S = 0.6  # a track that was not seen this long is forgotten
ROOTED_S = 0.3  # one frame in which what sways was not recognised is no proof
BELIEVED_S = 2.0  # a track that travelled goes on counting this long
WINDOW_FRAMES, KEEP_FRAMES, ROOTED_FRAMES, BELIEVED_FRAMES = (
    5.5,
    2.5,
    1.5,
    1.5,
)  # the same, at least, in frames
RARE_S = 0.4  # between two frames further apart than this a thing goes beyond the usual reach:
REACH_A_SECOND = 0.6  # so much further a second, in shares of the usual one
UNSEEN_S = (
    0.25,
    0.7,
)  # after a time without frames between these two, tracks are taken up where they will have gone to
WAY_PX, WAY_SIZES = 5.0, 0.35  # shortest way after 5 frames: px, and shares of the shorter side
DASH_PX, DASH_SIZES = (
    16.0,
    0.6,
)  # the same after 3 frames; shorter, specks of rain were believed 30 % of the time
STRAIGHT = 4.0  # how many times longer than what the line leaves over the way must be
SLOW_SIZES = 0.25  # a step of more than this share of the longer side is a dash's
STEADY_STEP = 0.4  # shortest step of a dash, in shares of the mean one; the longest is its inverse
UNEVEN = 2.5  # a dash is seen in every frame: longest by shortest interval
SAME_SIZE = 1.8  # by what a side may grow or shrink on the way
FOLLOWED = 0.3  # how far one end must come along, in shares of the other's way
NEAR_FRAMES, NEAR_SIZES = 10, 0.25  # growth of what comes near
MAX_TRACKS = 24  # bound
MAX_POSITIONS = 32  # bound
POSITIONS_APART_S = (
    0.07  # arithmetic: positions nearer in time are one, so 60 frames a second say no more than 14
)
