"""Style, scripts and the picture slider that pages share. Nothing is loaded from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #22262e; --soft: #667080; --line: #dfe3e8;
  --accent: #2563a8; --bar: #2563a822; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181d; --card: #1c2027; --ink: #e6e9ee; --soft: #98a2b1;
  --line: #323944; --accent: #7fb2ec; --bar: #7fb2ec2e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main, header { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
h1 { font-size: 28px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 21px; margin: 44px 0 6px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 30px 0 8px; }
p, li { max-width: 84ch; }
.soft, .notes { color: var(--soft); font-size: 13.5px; }
.notes { padding-left: 18px; margin: 10px 0; }
nav a { color: var(--accent); margin-right: 16px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 10px 12px; color: var(--soft); font-size: 13px; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tbody tr { border-top: 1px solid var(--line); }
tbody th { font-weight: 550; }
.classes td { text-align: center; }
thead th { vertical-align: bottom; padding: 0; border-bottom: 1px solid var(--ink); }
thead button { all: unset; display: block; width: 100%; padding: 8px 12px; cursor: pointer; font-weight: 600;
  box-sizing: border-box; color: var(--soft); font-size: 13px; }
thead button:hover { color: var(--accent); }
:focus-visible, thead button:focus-visible { outline: 3px solid var(--accent); outline-offset: -2px; }
thead [aria-sort=ascending] button::after { content: " ▲"; font-size: 9px; }
thead [aria-sort=descending] button::after { content: " ▼"; font-size: 9px; }
td.best { font-weight: 700; color: var(--accent); }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--accent); margin-bottom: 8px; }
.runs td { text-align: left; }
.runs td:last-child { white-space: normal; word-break: break-all; min-width: 26ch; font-size: 12px; }
.classes th, .classes td { padding: 5px 7px; }
.classes thead th:not(:first-child) button { padding: 8px 4px; }
.classes thead th:not(:first-child) span { writing-mode: vertical-rl; transform: rotate(180deg); }
.classes thead th:not(:first-child) button { display: flex; gap: 6px;
  flex-direction: column-reverse; align-items: center; }
.mark { display: inline-block; width: 13px; height: 13px; border-radius: 3px; border: 1px solid #8886; flex: none; }
.curves { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.curves text { fill: var(--soft); font-size: 12px; }
.curves .rule { stroke: var(--line); }
.curves .mean { stroke-width: 2.4; stroke-linejoin: round; }
.curves .seed { stroke-width: 1; opacity: .4; }
.curves circle { stroke: none; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 8px 0; font-size: 13.5px; }
.legend label { display: inline-flex; align-items: center; gap: 6px; cursor: pointer; }
.legend svg { width: 26px; height: 10px; }
.controls { display: flex; flex-wrap: wrap; gap: 10px 18px; margin: 10px 0; align-items: center; }
.controls label { color: var(--soft); font-size: 13.5px; }
select { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: 4px 8px; max-width: 44ch; }
.viewer { position: relative; background: #000; border-radius: 8px; overflow: hidden; --at: 50%; line-height: 0;
  touch-action: pan-y; max-width: 1192px; }
.viewer img { width: 100%; display: block; user-select: none; image-rendering: auto; }
.viewer #right { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--at)); }
.viewer .bar { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 4px #000a; pointer-events: none; }
.viewer .bar::after { content: "◂ ▸"; position: absolute; top: 50%; left: 1px; transform: translate(-50%, -50%);
  background: #fff; color: #222; font: 600 13px/30px sans-serif; width: 42px; text-align: center; border-radius: 15px;
  box-shadow: 0 1px 5px #0008; white-space: pre; }
.viewer input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  appearance: none; }
/* Next to no width, so that the divider stands under the pointer. */
.viewer input::-webkit-slider-thumb { appearance: none; width: 1px; height: 100%; }
.viewer input::-moz-range-thumb { width: 1px; height: 100%; border: 0; }
.viewer:focus-within { outline: 3px solid var(--accent); outline-offset: 2px; }
.tag { position: absolute; bottom: 10px; background: #000b; color: #fff; font: 13px/1 system-ui, sans-serif;
  padding: 6px 10px; border-radius: 6px; pointer-events: none; max-width: 46%; }
#left-tag { left: 10px; } #right-tag { right: 10px; }
.palette { display: flex; flex-wrap: wrap; gap: 4px 14px; margin: 10px 0; font-size: 13px; color: var(--soft); }
.palette span { display: inline-flex; align-items: center; gap: 5px; }
footer { max-width: 1240px; margin: 40px auto; padding: 0 24px; color: var(--soft); font-size: 13px; }
@media print { .controls, nav { display: none; } .scroll { overflow: visible; } }
"""

VIEWER = """<p class="soft">Drag the divider, or focus the picture and use the arrow keys.</p>
<div class="controls">
<label>scene <select id="scene"></select></label>
<label>left <select id="left-choice"></select></label>
<label>right <select id="right-choice"></select></label>
</div>
<div class="viewer" id="viewer"><img id="left" alt=""><img id="right" alt=""><div class="bar"></div>
<div class="tag" id="left-tag"></div><div class="tag" id="right-tag"></div>
<input id="slider" type="range" min="0" max="100" step="any" value="50" aria-label="divider between the two pictures">
</div>
"""

SHARED_SCRIPT = """
"use strict";
// Tables: a click on a head sorts by it; unknown stays last.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const falling = head.getAttribute("aria-sort") === "ascending" || (!head.hasAttribute("aria-sort") && column > 0);
    const now = head.getAttribute("aria-sort") === "descending" ? false : falling;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", now ? "descending" : "ascending");
    const text = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const value = row => parseFloat(text(row));
    const order = (a, b) => {
      if (text(a) === "\\u2013" || text(b) === "\\u2013") return (text(a) === "\\u2013") - (text(b) === "\\u2013");
      const both = column > 0 && !isNaN(value(a)) && !isNaN(value(b));
      const sign = both ? value(a) - value(b) : text(a).localeCompare(text(b));
      return now ? -sign : sign;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
// Pictures: two views of one scene, divided where the slider stands. Returns a function that shows an album,
// {files: [address], scenes: [{views: {title: place in files}}], left: title, right: title}, and keeps what is chosen.
function pictureSlider() {
  const at = name => document.getElementById(name);
  const [scene, slider, viewer] = [at("scene"), at("slider"), at("viewer")];
  const sides = ["left", "right"];
  let album = null;
  const offer = (choice, options) => {
    if (JSON.stringify([...choice.options].map(each => [each.text, each.value])) === JSON.stringify(options)) return;
    choice.replaceChildren(...options.map(each => new Option(...each)));
  };
  const fill = () => {
    const views = album.scenes[scene.value].views;
    for (const side of sides) {
      const choice = at(`${side}-choice`);
      const kept = choice.value || album[side];
      offer(choice, Object.keys(views).map(title => [title, title]));
      choice.value = kept in views ? kept : side === "left" ? "image" : "label";
    }
    show();
  };
  const show = () => {
    const views = album.scenes[scene.value].views;
    for (const side of sides) {
      const title = at(`${side}-choice`).value;
      const address = album.files[views[title]];
      if (at(side).getAttribute("src") !== address) at(side).src = address;
      at(side).alt = title;
      at(`${side}-tag`).textContent = title;
    }
  };
  const move = () => {
    viewer.style.setProperty("--at", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} percent from the left`);
  };
  scene.addEventListener("change", fill);
  sides.forEach(side => at(`${side}-choice`).addEventListener("change", show));
  slider.addEventListener("input", move);
  move();
  return shown => {
    album = shown;
    const kept = scene.value in album.scenes ? scene.value : "0";
    offer(scene, album.scenes.map((_, place) => [`image ${place + 1}`, `${place}`]));
    scene.value = kept;
    fill();
  };
}
"""

SCRIPT = f"""{SHARED_SCRIPT}
document.querySelectorAll("table").forEach(sortable);
// Curves: a box shows or hides its line.
for (const box of document.querySelectorAll(".legend input")) {{
  box.addEventListener("change", () => {{
    const picture = box.closest(".legend").previousElementSibling;
    picture.querySelector(`[data-curve="${{box.value}}"]`).style.display = box.checked ? "" : "none";
  }});
}}
const data = document.getElementById("album");
if (data) pictureSlider()(JSON.parse(data.textContent));
"""
