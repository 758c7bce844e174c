"""A hub that UCSC takes, written by hand, and what breaks it."""

GOOD = """\
# a hub by hand, after the examples of UCSC's help
hub myHub
shortLabel My hub
longLabel A hub with one of everything
useOneFile on
email me@uni.edu
descriptionUrl about.html

genome toy
twoBitPath toy.2bit
organism Toy
defaultPos c1:1-1,000
htmlPath about.html

track super
superTrack on show
shortLabel Everything
longLabel A super-track
html about

track comp
parent super
compositeTrack on
shortLabel Signals
longLabel A composite with views and subgroups
type bigWig 0 10
visibility full
subGroup1 view Views Signal=Signal Sites=Sites
subGroup2 cell Cell A=Cell_A B=Cell_B
dimensions dimX=cell dimY=view
sortOrder cell=+ view=-

    track compSignal
    parent comp
    view Signal
    shortLabel Signal
    visibility full
    viewLimits 0:10
    maxHeightPixels 100:40:16

        track wigA
        parent compSignal on
        bigDataUrl a.bw
        shortLabel A
        longLabel Signal of A
        color 0,114,178
        windowingFunction mean+whiskers
        autoScale group
        priority 1.5
        subGroups view=Signal cell=A

        track wigB
        parent compSignal off
        bigDataUrl https://example.org/b.bw
        longLabel Signal of B, \\
            continued
        type bigWig
        subGroups view=Signal cell=B

    track compSites
    parent comp
    view Sites
    shortLabel Sites
    visibility pack

        track sitesA
        parent compSites
        bigDataUrl data/a%20b.bb
        longLabel Sites of A
        type bigBed 6
        subGroups view=Sites cell=A

track multi
container multiWig
shortLabel Overlay
longLabel Two in one
type bigWig 0 10
aggregate transparentOverlay
html about.html

    track overlayA
    parent multi
    bigDataUrl a.bw
    shortLabel A
    longLabel A

    track overlayB
    parent multi
    bigDataUrl a.bw
    shortLabel B
    longLabel B
"""

# what is replaced, by what, the words of the broken line, what is said
ERRORS = [
    # the hub
    ("email me@uni.edu\n", "", "hub myHub", "no 'email'"),
    ("email me@uni.edu", "email me at uni", "email me", "is no mail address"),
    ("shortLabel My hub\n", "", "hub myHub", "no 'shortLabel'"),
    ("longLabel A hub with one of everything\n", "", "hub myHub", "no 'longLabel'"),
    ("useOneFile on\n", "", "hub myHub", "neither 'useOneFile on' nor 'genomesFile"),
    ("useOneFile on", "useOneFile yes", "useOneFile yes", "useOneFile is 'yes'"),
    ("useOneFile on", "useOneFile on\ngenomesFile g.txt", "genomesFile g", "both useOneFile and genomesFile"),
    ("hub myHub", "hub my hub", "hub my hub", "holds a space"),
    ("descriptionUrl about.html", "descriptionUrl no.html", "descriptionUrl", r"no\.html: no such file"),
    # the genome
    ("organism Toy\n", "", "genome toy", "needs 'organism'"),
    ("defaultPos c1:1-1,000\n", "", "genome toy", "needs 'defaultPos'"),
    ("defaultPos c1:1-1,000", "defaultPos chr1:1-1000", "defaultPos", "defaultPos: .*'chr1'"),
    ("defaultPos c1:1-1,000", "defaultPos c1:1-1001", "defaultPos", "defaultPos: .*1,000"),
    ("twoBitPath toy.2bit", "twoBitPath no.2bit", "twoBitPath", r"no\.2bit: no such file"),
    ("twoBitPath toy.2bit", "twoBitPath a.bw", "twoBitPath", r"is not a .*\.2bit"),
    ("genome toy\n", "genome 1 toy\n", "genome 1", "'1 toy' is no name of a genome"),
    ("track super\n", "genome toy2\n\ntrack super\n", "genome toy2", "2 stanzas 'genome NAME'"),
    ("htmlPath about.html\n", "htmlPath no.html\n", "htmlPath", r"htmlPath no\.html"),
    # the text
    ("shortLabel Signals\n", "shortLabel\n", "shortLabel\n", "'shortLabel' has no value"),
    ("on show\n", "on show\n\n", "shortLabel Everything", "begins with 'track NAME', not 'shortLabel': a blank line"),
    (
        "longLabel A\n\n    track overlayB",
        "longLabel A\n    track overlayB",
        "track overlayB",
        "a blank line is missing",
    ),
    # the tracks: names, labels, types
    ("track overlayB", "track overlayA", "track overlayA", "overlayA is there already, in line 81"),
    ("track overlayB", "track over.lay", "track over.lay", "'over.lay': take letters"),
    ("track overlayB", "track 1overlay", "track 1overlay", "'1overlay': take letters"),
    ("track overlayB", "track over layB", "track over layB", "'over layB': take letters"),
    ("shortLabel Everything\n", "", "track super", "super has no shortLabel"),
    ("        type bigBed 6\n", "        type bigBad 6\n", "type bigBad", "type 'bigBad' is none"),
    ("        type bigBed 6\n", "        type bed 6\n", "type bed", "type 'bed' is none"),
    ("        type bigBed 6\n", "        type bigBed 2\n", "type bigBed 2", r"its BED columns \(3 to"),
    ("        type bigBed 6\n", "        type bigBed 6 x\n", "type bigBed 6 x", "its BED columns"),
    ("        type bigBed 6\n", "        type bigBed 9\n", "type bigBed 9", r"a%20b\.bb has 6 columns: write bigBed 6"),
    ("        type bigBed 6\n", "        type bigBed 4\n", "type bigBed 4", r"has 6 columns: write bigBed 4 \+"),
    ("        type bigWig\n", "        type bigWig 0\n", "type bigWig 0\n", "lowest and highest"),
    ("        type bigWig\n", "        type bigWig 5 0\n", "type bigWig 5", "lowest and highest"),
    # values
    ("color 0,114,178", "color 0,114,256", "color", "color '0,114,256'"),
    ("color 0,114,178", "color blue", "color", "color 'blue'"),
    ("color 0,114,178", "color 0,114", "color", "color '0,114'"),
    ("viewLimits 0:10", "viewLimits 0-10", "viewLimits", "lower:upper"),
    ("viewLimits 0:10", "viewLimits 10:0", "viewLimits", "lower:upper"),
    ("viewLimits 0:10", "viewLimits 0:nan", "viewLimits", "lower:upper"),
    ("maxHeightPixels 100:40:16", "maxHeightPixels 16:40:100", "maxHeightPixels", "most:default:least"),
    ("visibility pack", "visibility packed", "visibility packed", "it is one of hide, dense, squish, pack, full, 0, 1"),
    ("mean+whiskers", "max", "windowingFunction", "it is one of maximum, mean,"),
    ("autoScale group", "autoScale yes", "autoScale", "it is one of on, off, group"),
    ("priority 1.5", "priority first", "priority", "it is a number"),
    # families
    ("parent compSignal on", "parent compSignals on", "compSignals", "compSignals of track wigA is no track"),
    ("parent compSignal on", "parent compSignal yes", "compSignal yes", "a name, or a name and on or off"),
    ("parent compSignal on", "parent wigB", "parent wigB", "wigB of track wigA is no compositeTrack"),
    ("    parent multi\n", "    parent overlayA\n", "parent overlayA", "track overlayA is its own parent"),
    ("compositeTrack on\n", "", "parent comp\n", "parent comp of track compSignal is no compositeTrack"),
    ("viewLimits 0:10\n", "bigDataUrl a.bw\n", "bigDataUrl a.bw", "compSignal is a container and so has no"),
    # subgroups
    ("Cell A=Cell_A", "Cell A", "subGroup2", "a name, a title, and tag=title"),
    ("view=Signal cell=A", "view=Signal cell=C", "cell=C", "'C' is no group of cell"),
    ("view=Signal cell=A", "view=Signal", "subGroups view=Signal\n", "wigA is in no group of cell"),
    ("view=Signal cell=A", "view=Signal cell=A sex=f", "sex=f", "no composite above it defines subgroup sex"),
    ("dimY=view", "dimY=views", "dimensions", "'dimY=views' names no subGroup"),
    ("dimX=cell", "dimX", "dimensions", "'dimX' names no subGroup"),
    (
        "    longLabel B\n",
        "    longLabel B\n    subGroups cell=A\n",
        "    subGroups cell=A\n",
        "no composite above it defines subgroup cell",
    ),
    # files
    ("        bigDataUrl a.bw\n", "", "track wigA", "wigA has no bigDataUrl"),
    ("        bigDataUrl a.bw", "        bigDataUrl no.bw", "no.bw", r"no\.bw: no such file"),
    ("        bigDataUrl a.bw", "        bigDataUrl /data/a.bw", "/data", "a path of this machine"),
    ("        bigDataUrl a.bw", "        bigDataUrl file:///a.bw", "file:", "a path of this machine"),
    ("        bigDataUrl a.bw", "        bigDataUrl C:\\a.bw", "C:", "a path of this machine"),
    ("        bigDataUrl data/a%20b.bb", "        bigDataUrl data/a b.bb", "data/a b", "holds a blank"),
    ("        bigDataUrl a.bw", "        bigDataUrl text.bw", "text.bw", r"text\.bw is not a .*bigWig"),
    ("        bigDataUrl a.bw", "        bigDataUrl about.html", "rl about.html\n        short", "is not a bigWig"),
    ("        bigDataUrl a.bw", "        bigDataUrl cut.bw", "cut.bw", r"cut\.bw is cut short"),
    (
        "        bigDataUrl a.bw",
        "        bigDataUrl other.bw",
        "other.bw",
        "c1 has 999 bases, but 1,000 in toy",
    ),
    ("        bigDataUrl a.bw", "        bigDataUrl alien.bw", "alien.bw", "another genome: toy has no contig x"),
    ("        type bigBed 6\n", "        type bigWig\n", "data/a%20b.bb", r"is not a .*bigWig"),
    (
        "        bigDataUrl a.bw\n",
        "        type bigBed\n        bigDataUrl a.bw\n",
        "bigDataUrl a.bw",
        "is not a .*bigBed",
    ),
    ("html about\n", "html no\n", "html no", r"html no\.html: no such file"),
]

# errors that follow from the mistake: what a track no longer inherits, who is left without a child, ...
ALSO = {
    "useOneFile is 'yes'": 1,
    "'shortLabel' has no value": 1,
    "begins with 'track NAME', not 'shortLabel': a blank line": 2,
    r"its BED columns \(3 to": 1,
    "compSignals of track wigA is no track": 2,
    "track overlayA is its own parent": 1,
    "parent comp of track compSignal is no compositeTrack": 4,
    "a name, a title, and tag=title": 2,
}

WARNINGS = [
    ("shortLabel Everything", "shortLabel Everything there is", "shortLabel has 19 letters; UCSC shows 17"),
    ("longLabel A super-track", f"longLabel {'long ' * 17}", "longLabel has 84 letters; UCSC shows 80"),
    ("email me@uni.edu", "email me@example.org", "reaches nobody"),
    ("descriptionUrl about.html\n", "", "the hub has no page: set descriptionUrl"),
    ("html about.html\n\n    track overlayA", "\n    track overlayA", "has no page: set html"),
    ("organism Toy", "organism\tToy", "a tab"),
    ("organism Toy", "organism Toy\norganism Toy", "'organism' is set in line 11 already"),
    ("useOneFile on\n", "useOneFile on\r\n", "Windows line ends"),
]
