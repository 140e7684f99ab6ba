"""How the page looks, and the little it does: switch language, turn the sheets. Both stand inside the page itself."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #58606f; --rule: #dfe3ea; --wash: #f4f6f9;
  --accent: #1f5fbf; --second: #b3450b; --band: #1f5fbf2b; --good: #1d7a46; --bad: #b3261e; --wait: #8a5a00;
  --faint: #9aa5b8; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14171d; --ink: #e8ebf1; --soft: #a9b1bf;
  --rule: #333a46; --wash: #1d222b; --accent: #7fb0ff; --second: #ffa56b; --band: #7fb0ff33; --good: #6fd69b;
  --bad: #ff9088; --wait: #f0c060; --faint: #66718a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.25rem 1.25rem 4rem; }
:root[lang=es] :is(span, text)[lang=en], :root[lang=en] :is(span, text)[lang=es] { display: none; }
header { display: flex; flex-wrap: wrap-reverse; gap: .75rem 2rem; justify-content: space-between; align-items: start; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p { max-width: 44rem; margin: .5rem 0; }
.soft, figcaption, dt { color: var(--soft); }
.status { border-left: .3rem solid var(--wait); background: var(--wash); padding: .75rem 1rem; margin: 1rem 0 1.5rem;
  max-width: none; border-radius: 0 .4rem .4rem 0; }
.status b { color: var(--wait); }
.finished { border-color: var(--good); } .finished b { color: var(--good); }
.finding { border-color: var(--bad); } .finding b { color: var(--bad); }
.non-finite { border-color: var(--bad); } .non-finite b { color: var(--bad); }
.verdict { border: 1px solid var(--rule); border-left: .3rem solid var(--accent); border-radius: 0 .4rem .4rem 0;
  padding: .75rem 1rem; margin: 1rem 0; break-inside: avoid; overflow-wrap: anywhere;
  display: flex; flex-wrap: wrap; gap: .75rem 1.5rem; }
.verdict > div { flex: 1 1 24rem; min-width: 0; } section + dl { margin-top: 2rem; }
.verdict.fault { border-left-color: var(--bad); } .verdict.healthy { border-left-color: var(--good); }
.severity { color: var(--accent); margin-right: .4rem; } .fault .severity { color: var(--bad); }
.healthy .severity { color: var(--good); }
.verdict ul { margin: .5rem 0; padding-left: 1.2rem; } .verdict figure { margin: .25rem 0; flex: 0 1 18rem; }
.verdict img { width: 18rem; } .verdict figcaption, .turns { font-size: .875rem; }
.verdict code { background: var(--wash); padding: .1rem .3rem; border-radius: .25rem; }
.turns { color: var(--soft); padding-left: 1.4rem; margin: .5rem 0 0; max-width: 44rem; }
.languages { display: flex; }
button { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--soft);
  padding: .3rem .8rem; cursor: pointer; }
button:first-child { border-radius: .4rem 0 0 .4rem; }
button:last-child { border-radius: 0 .4rem .4rem 0; border-left: 0; }
button[aria-pressed=true] { background: var(--accent); color: var(--paper); border-color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(50% - .75rem, 13rem), 1fr)); gap: .9rem 1.5rem;
  margin: 0; }
dt { font-size: .875rem; } dd { margin: 0; overflow-wrap: anywhere; } dd small { color: var(--soft); display: block; }
figure { margin: 1rem 0 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: .25rem; }
.sheet img { width: 46rem; }
.reals img { width: 34rem; }
.world img, .film img { width: 30rem; } .film img { margin-top: .75rem; }
.stages { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap: 1rem; }
.stages figcaption { font-size: .875rem; text-align: center; margin-top: .25rem; }
.turn { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; margin-top: .75rem; max-width: 46rem; }
.turn label { flex: 1 0 100%; color: var(--soft); font-size: .875rem; }
.turn input { flex: 1; min-width: 10rem; accent-color: var(--accent); }
.turn output { min-width: 6rem; text-align: right; font-variant-numeric: tabular-nums; }
[hidden] { display: none !important; }
.wide { overflow-x: auto; margin-top: 1rem; }
.moments { display: flex; gap: .4rem; min-width: min-content; }
.moments figure { flex: 1 0 4.6rem; max-width: 7.2rem; margin: 0; }
.moments figcaption { text-align: center; font-size: .875rem; font-variant-numeric: tabular-nums; }
.pairs figure { margin: 0 0 .75rem; min-width: 32rem; }
.pairs img { width: 58rem; }
.pairs figcaption { font-size: .875rem; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding: 0; margin: .75rem 0 0; list-style: none;
  font-size: .875rem; color: var(--soft); }
.legend li { display: flex; gap: .5rem; align-items: baseline; } .legend svg {
  width: 1.75rem; height: .8rem; flex: none; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 2rem;
  margin-top: 1.25rem; }
.curves figure { margin: 0; break-inside: avoid; }
.curves .unit, .curves .axis-x { color: var(--soft); font-size: .875rem; margin: 0; }
.curves .axis-x { text-align: right; margin-right: .75rem; }
.curves figure > svg { display: block; width: 100%; height: auto; }
.curves figcaption p { font-size: .9rem; margin: .25rem 0 0; }
svg text { fill: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.axis, .rule, .line, .thread { fill: none; } .axis { stroke: var(--soft); } .rule { stroke: var(--rule); }
.line { stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; } .band { fill: var(--band); }
.thread { stroke: var(--second); stroke-dasharray: 3 3; }
.tail { fill: none; stroke: var(--faint); stroke-width: 1.5; stroke-linejoin: round; } .dot-tail { fill: var(--faint); }
.turn-at, .turn-back { fill: none; stroke: var(--soft); } .turn-at { stroke-dasharray: 2 3; }
svg .turned { font-weight: 600; paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.cross, .way { fill: none; stroke: var(--soft); } .way { stroke: var(--accent); stroke-width: 1.5; }
.way-first { fill: var(--paper); stroke: var(--accent); stroke-width: 2; }
rect.axis { stroke: var(--rule); } circle.rule { stroke: var(--soft); stroke-dasharray: 2 4; }
.class { stroke: var(--paper); stroke-width: .75; } svg text.on { fill: #10131a; font-weight: 600; }
.c0 { fill: #8fb8f0; } .c1 { fill: #f4b183; } .c2 { fill: #9fd4a3; } .c3 { fill: #e79aa4; } .c4 { fill: #c3b1e6; }
.c5 { fill: #d9b99b; } .c6 { fill: #f2c1de; } .c7 { fill: #c4c9d1; } .c8 { fill: #dbdc86; } .c9 { fill: #8fd5dc; }
.dot { fill: var(--second); } .dot-train { fill: var(--accent); }
table { border-collapse: collapse; min-width: 100%; }
th, td { text-align: left; padding: .4rem 1.25rem .4rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { font-weight: 600; } td.unit { min-width: 12rem; }
th small, td small { display: block; color: var(--soft); font-weight: 400; }
th small { max-width: 24rem; min-width: 9rem; }
small.stale { color: var(--wait); }
.copies img { min-width: 40rem; width: 58rem; max-width: none; }
h3.protocol { margin-top: 1rem; } ul.protocol { columns: 2 20rem; margin: .25rem 0; padding-left: 1.2rem;
  color: var(--soft); overflow-wrap: anywhere; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--wash); padding: .75rem 1rem; overflow-x: auto; margin: .25rem 0 1rem; border-radius: .4rem; }
details { margin-top: 1rem; } summary { cursor: pointer; font-weight: 600; }
.events { padding: 0; list-style: none; }
.events > li { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .35rem 0; border-bottom: 1px solid var(--rule); }
.events time { color: var(--soft); flex: 0 0 12rem; font-variant-numeric: tabular-nums; }
.events div { flex: 1 1 20rem; overflow-wrap: anywhere; }
.events ul { margin: .25rem 0 0; padding-left: 1.2rem; color: var(--soft); }
@media print { .languages, .turn { display: none; } main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  .wide { overflow: visible; } .sheet, .pairs figure, pre, tr { break-inside: avoid; } a { color: inherit; } }
"""

SCRIPT = """
"use strict";
const page = document.documentElement;
const buttons = document.querySelectorAll(".languages button");
function speak(language) {
  page.lang = language;
  for (const e of document.querySelectorAll("[data-" + language + "]")) {
    const words = e.getAttribute("data-" + language);
    if (e.tagName === "TITLE") e.textContent = words;
    else e.setAttribute(e.tagName === "IMG" ? "alt" : "aria-label", words);
  }
  for (const b of buttons) b.setAttribute("aria-pressed", String(b.lang === language));
  turn();
}
const range = document.querySelector(".turn input");
function turn() {
  if (!range) return;
  const sheets = document.querySelectorAll(".sheet img");
  sheets.forEach((sheet, i) => { sheet.hidden = i !== Number(range.value); });
  const clocks = document.querySelectorAll(".turn output > span");
  clocks.forEach((clock, i) => { clock.hidden = i !== Number(range.value); });
  range.setAttribute("aria-valuetext", clocks[range.value].getAttribute("data-value-" + page.lang));
}
if (range) { range.closest(".turn").hidden = false; range.addEventListener("input", turn); }
for (const b of buttons) b.addEventListener("click", () => speak(b.lang));
document.querySelector(".languages").hidden = false;
const asked = location.hash.slice(1);
speak([...buttons].some((b) => b.lang === asked) ? asked : page.lang);
"""
