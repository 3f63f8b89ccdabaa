"""The style of the HTML report, which stands in the file itself: nothing is fetched, and no script runs.

Filters are radio buttons before the cases; `:has` hides what the chosen one does not name.
"""

SIGNS = ("worse", "better", "failed", "error")
TAG_FILTERS = 24
"""So many tags have a button; the others are found with the browser's search."""

_FILTERS = "\n".join(
    [f"body:has(#sign-{sign}:checked) .case:not(.is-{sign}){{display:none}}" for sign in SIGNS]
    + [f"body:has(#tag-{index}:checked) .case:not(.tag-{index}){{display:none}}" for index in range(TAG_FILTERS)]
)

STYLE = (
    """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2126;--soft:#5b6570;--line:#d9dee3;--panel:#f6f8fa;--pass:#1a7f37;
--fail:#c4232b;--open:#8a5a00;--error:#7a3fc0;--none:#5b6570;--gone:#ffdcd8;--new:#cdf3d5;--mark:#0b62c4}
@media (prefers-color-scheme:dark){:root{--bg:#14181c;--fg:#e3e8ed;--soft:#9aa5b1;--line:#343c45;--panel:#1c2228;
--pass:#4bc26a;--fail:#ff7b72;--open:#e0a93b;--error:#bf94ff;--none:#9aa5b1;--gone:#67231f;--new:#1b4d2b;--mark:#6cb2ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1280px;padding:1.25rem clamp(.75rem,3vw,2rem) 4rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.45rem;margin:.2rem 0 .6rem;display:flex;flex-wrap:wrap;gap:.6rem;align-items:center}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}
p{margin:.4rem 0}.soft{color:var(--soft)}.small{font-size:.86rem}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.88em}
.badge{display:inline-block;border:1.5px solid currentColor;border-radius:.4rem;padding:0 .5rem;font-weight:650;
font-size:.8rem;line-height:1.55;white-space:nowrap}
h1 .badge{font-size:1.05rem}
.v-PASS{color:var(--pass)}.v-FAIL{color:var(--fail)}.v-INCONCLUSIVE{color:var(--open)}.v-ERROR{color:var(--error)}
.v-NO_DATA,.v-none{color:var(--none)}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem 1rem;margin:.4rem 0}
dt{color:var(--soft)}dd{margin:0}
.gates{display:grid;gap:.7rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr))}
.gate{border:1px solid var(--line);border-left:4px solid currentColor;border-radius:.4rem;padding:.6rem .8rem}
.gate>*{color:var(--fg)}.gate>.head{display:flex;gap:.5rem;align-items:baseline;flex-wrap:wrap}
.gate>.head>.badge{color:inherit}
.gate.v-PASS .badge{color:var(--pass)}.gate.v-FAIL .badge{color:var(--fail)}
.gate.v-INCONCLUSIVE .badge{color:var(--open)}
.gate.v-ERROR .badge{color:var(--error)}.gate.v-NO_DATA .badge,.gate.v-none .badge{color:var(--none)}
.gate .soft{color:var(--soft)}.gate svg{display:block;width:100%;height:3.1rem;margin-top:.4rem}
svg text{font-size:11px;fill:var(--soft)}svg .axis{stroke:var(--line)}svg .bar{stroke:var(--mark);stroke-width:3}
svg .dot{fill:var(--mark)}svg .limit{stroke:var(--fail);stroke-dasharray:3 2;stroke-width:1.5}
.warnings{border-left:4px solid var(--open);background:var(--panel);padding:.4rem .8rem;margin:.8rem 0}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;min-width:min(100%,32rem)}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap}td.name{overflow-wrap:anywhere;min-width:8rem;font-weight:600}
td .ci{display:block;color:var(--soft);font-size:.82em;white-space:nowrap}
td{font-variant-numeric:tabular-nums}
.filters{display:flex;flex-wrap:wrap;gap:.4rem;margin:.5rem 0;padding:0;border:0}
.filters legend{padding:0;color:var(--soft);font-size:.86rem}
.filters label{border:1px solid var(--line);border-radius:1rem;padding:.05rem .7rem;cursor:pointer;font-size:.88rem}
.filters input{position:absolute;opacity:0;pointer-events:none}
.filters label:has(:checked){background:var(--mark);border-color:var(--mark);color:var(--bg)}
.filters label:has(:focus-visible){outline:2px solid var(--fg);outline-offset:2px}
.case{border:1px solid var(--line);border-radius:.4rem;margin:.55rem 0;background:var(--bg)}
.case>summary{cursor:pointer;padding:.5rem .8rem;display:flex;flex-wrap:wrap;gap:.2rem .6rem;align-items:baseline}
.case>summary::before{content:"▸";color:var(--soft)}.case[open]>summary::before{content:"▾"}
.case>summary::-webkit-details-marker{display:none}.case>summary{list-style:none}
.case .q{flex:1 1 20rem;min-width:0}.case .body{padding:0 .8rem .8rem;border-top:1px solid var(--line)}
.sign{font-size:.78rem;font-weight:650}.s-worse{color:var(--fail)}.s-better{color:var(--pass)}.s-failed{color:var(--open)}
.s-error{color:var(--error)}
.tag{background:var(--panel);border-radius:.3rem;padding:0 .35rem;font-size:.8rem;color:var(--soft)}
.sides{display:grid;gap:.8rem;grid-template-columns:minmax(0,1fr) minmax(0,1fr);margin-top:.6rem}
.sides.single{grid-template-columns:minmax(0,1fr)}
@media (max-width:760px){.sides{grid-template-columns:minmax(0,1fr)}
dl{grid-template-columns:5.6rem minmax(0,1fr);gap:.15rem .6rem}}
.side h3{font-size:.86rem;margin:0 0 .2rem;color:var(--soft);font-weight:600}
.text{white-space:pre-wrap;background:var(--panel);border-radius:.35rem;padding:.5rem .7rem;
max-height:26rem;overflow:auto;
unicode-bidi:isolate}
.text:empty::after{content:"(empty)";color:var(--soft)}
del{background:var(--gone);text-decoration:line-through;text-decoration-thickness:1px}ins{background:var(--new);text-decoration:none;
font-weight:600}
.failure{color:var(--error)}
@media print{.case{break-inside:avoid}.filters{display:none}.text{max-height:none}}
"""
    + _FILTERS
    + "\n"
)
