// The page asks for the list of runs again and again, and for more of the runs that are shown when they have changed.
// Everything that comes from files becomes text nodes; only pictures of curves come as markup, made and escaped by the
// server.
const EVERY = 2000; // milliseconds between two looks
const FIRST = 6; // runs that are shown at first
const MOST = 24; // runs that are shown side by side, as the server allows
const UNKNOWN = "\u2013";
const at = name => document.getElementById(name);
const table = at("runs");
const showAlbum = pictureSlider();
const rows = new Map(); // key of a run -> its row
const details = new Map(); // key of a run -> what is known of it
let runs = [];
let chosen = null; // keys of the runs that are shown; null before the first look
let together = null;
let shown = ""; // what the parts below the list were made from
let paused = false;
let busy = false;

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.entries(value).forEach(([property, worth]) => made.style.setProperty(property, worth));
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function swatch(style) {
  const space = "http://www.w3.org/2000/svg";
  const [svg, line] = [document.createElementNS(space, "svg"), document.createElementNS(space, "line")];
  svg.setAttribute("class", "swatch");
  svg.setAttribute("aria-hidden", "true");
  const told = {x1: 0, x2: 26, y1: 5, y2: 5, stroke: style.color, "stroke-width": 4, "stroke-dasharray": style.dash};
  for (const [name, value] of Object.entries(told)) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

async function ask(address) {
  const answer = await fetch(address, {cache: "no-store"});
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error || `The server answered ${answer.status}.`);
  return told;
}

const percent = value => (value === null || value === undefined ? UNKNOWN : value.toFixed(1));
const count = value => value.toLocaleString("en");
const labelOf = key => runs.find(run => run.key === key)?.label ?? key;
const first = values => Object.values(values)[0];

function ago(seconds) {
  if (seconds === null) return UNKNOWN;
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

function tell(text) {
  if (at("status").textContent !== text) at("status").textContent = text;
}

async function look() {
  if (busy || paused || (document.hidden && chosen)) return;
  busy = true;
  try {
    const told = await ask("api/runs");
    runs = told.runs;
    at("places").textContent = told.places.join(", ");
    choose();
    list();
    await more();
    tell(runs.length ? "Following the runs." : "No run yet; those that begin appear here.");
    at("updated").textContent = `read at ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    const gone = error instanceof TypeError; // what fetch throws when nobody answers
    tell(gone ? "The server does not answer: start da-toolkit view again." : String(error.message));
  } finally {
    busy = false;
  }
}

function choose() {
  const known = new Set(runs.map(run => run.key));
  if (chosen === null && runs.length) {
    let kept = [];
    try { kept = JSON.parse(sessionStorage.getItem("chosen") ?? "[]"); } catch { /* written by another page */ }
    kept = Array.isArray(kept) ? kept.filter(key => known.has(key)) : [];
    const eager = run => (run.state === "training" ? 0 : run.state === "unreadable" ? 2 : 1);
    const newest = [...runs].sort((a, b) => eager(a) - eager(b) || (a.age ?? Infinity) - (b.age ?? Infinity) || 0);
    const begun = new Set(kept.length ? kept : newest.slice(0, FIRST).map(run => run.key));
    chosen = runs.map(run => run.key).filter(key => begun.has(key));
  } else if (chosen) {
    chosen = chosen.filter(key => known.has(key));
  }
}

function mark(keys) {
  const wanted = new Set(keys);
  chosen = runs.map(run => run.key).filter(key => wanted.has(key)).slice(0, MOST);
  try { sessionStorage.setItem("chosen", JSON.stringify(chosen)); } catch { /* the browser keeps nothing */ }
  list();
  if (wanted.size > MOST) tell(`At most ${MOST} runs are shown side by side.`);
  more().catch(error => tell(String(error.message)));
}

// The list: rows stay the same elements, so that focus and order survive.
function list() {
  for (const [key, row] of rows) {
    if (!runs.some(run => run.key === key)) {
      row.remove();
      rows.delete(key);
    }
  }
  for (const run of runs) {
    if (!rows.has(run.key)) {
      const box = make("input", {type: "checkbox"});
      box.addEventListener("change", () =>
        mark(box.checked ? [...chosen, run.key] : chosen.filter(key => key !== run.key)));
      const name = make("th", {scope: "row"}, make("label", {}, box, make("span")));
      rows.set(run.key, make("tr", {}, name, ...Array.from({length: 7}, () => make("td"))));
      table.tBodies[0].append(rows.get(run.key));
    }
    const row = rows.get(run.key);
    const box = row.querySelector("input");
    box.checked = (chosen ?? []).includes(run.key);
    row.querySelector("label span").textContent = run.label;
    row.title = run.folder;
    const step = run.steps ? `${count(run.step)} / ${count(run.steps)}` : count(run.step);
    const cells = [percent(first(run.miou)), run.state, step, run.stage, run.method, ago(run.age), `${run.warnings}`];
    cells.forEach((text, place) => {
      const cell = row.cells[place + 1];
      if (cell.textContent !== text) cell.textContent = text;
    });
    const order = [first(run.miou)?.toFixed(4), null, run.step, null, null, run.age?.toFixed(3), run.warnings];
    order.forEach((value, place) => { if (value !== null) row.cells[place + 1].dataset.sort = value ?? UNKNOWN; });
    row.cells[1].title = Object.entries(run.miou).map(([name, value]) => `${name} ${percent(value)}`).join(", ");
    row.cells[2].className = `state-${run.state}`;
    row.cells[7].className = run.warnings ? "some" : "";
  }
  filter();
}

function found() {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  return runs.filter(run => {
    const text = `${run.label} ${run.method} ${run.state} ${run.stage}`.toLowerCase();
    return words.every(word => text.includes(word));
  });
}

function filter() {
  const kept = new Set(found().map(run => run.key));
  for (const [key, row] of rows) row.hidden = !kept.has(key);
  at("count").textContent = `${kept.size} of ${runs.length} runs, ${(chosen ?? []).length} shown`;
}

// What is below the list, asked for anew where a shown run has another version.
async function more() {
  if (!chosen) return render();
  const keys = chosen;
  const wanted = JSON.stringify(keys.map(key => [key, runs.find(run => run.key === key)?.version]));
  if (wanted === shown) return;
  const [both] = await Promise.all([
    ask(`api/together?${keys.map(key => `run=${key}`).join("&")}`),
    ...keys.map(async key => {
      if (details.get(key)?.version === runs.find(run => run.key === key)?.version) return;
      try {
        details.set(key, await ask(`api/runs/${key}`));
      } catch (error) {
        details.set(key, {problems: [String(error.message)]});
      }
    }),
  ]);
  if (keys !== chosen) return; // another choice was made meanwhile, and asks for itself
  together = both;
  shown = wanted;
  render();
}

function none(text) {
  return make("p", {class: "soft"}, text);
}

function fill(name, ...children) {
  at(name).replaceChildren(...children);
}

function offer(name, options) {
  const select = at(name);
  const kept = select.value;
  const now = [...select.options].map(option => [option.text, option.value]);
  if (JSON.stringify(now) !== JSON.stringify(options)) {
    select.replaceChildren(...options.map(option => new Option(...option)));
    if (options.some(option => option[1] === kept)) select.value = kept;
  }
  return select.value;
}

const known = () => (chosen ?? []).filter(key => details.get(key)?.settings);
const styleOf = key => together.styles[together.runs.indexOf(key)] ?? {color: "gray", dash: ""};

function render() {
  if (!together) return;
  for (const [key, row] of rows) {
    row.querySelector(".swatch")?.remove();
    if (chosen.includes(key)) row.querySelector("input").after(swatch(styleOf(key)));
  }
  fill("legend", ...chosen.map(key => make("span", {}, swatch(styleOf(key)), labelOf(key))));
  stages();
  curves();
  classes();
  confusion();
  album();
  ofStages();
  settings();
  warnings();
}

function stages() {
  const lines = known().filter(key => details.get(key).stages.length).flatMap(key => {
    const run = details.get(key);
    const total = run.stages.reduce((sum, stage) => sum + stage.steps, 0);
    const track = make("div", {class: "track"});
    let begin = 0;
    for (const stage of run.stages) {
      const done = Math.max(0, Math.min(1, (run.step - begin) / stage.steps));
      const bar = make("i", {"aria-hidden": "true", style: {width: `${100 * done}%`}});
      const steps = Math.max(0, Math.min(stage.steps, run.step - begin));
      const told = `${stage.name}: ${count(steps)} of ${count(stage.steps)} steps`;
      const part = make("span", {title: told, style: {flex: `${stage.steps / total} 1 0`}}, bar, stage.name);
      part.append(make("span", {class: "hidden"}, ` ${told}`));
      track.append(part);
      begin += stage.steps;
    }
    return [make("b", {}, labelOf(key)), track];
  });
  const all = lines.length ? make("div", {class: "stages"}, ...lines) : none("No shown run tells its stages.");
  fill("stages-shown", all);
}

function curves() {
  const parts = together.curves.flatMap(group => [
    make("h3", {}, group.title),
    make("div", {class: "figures"}, ...group.pictures.map(picture => {
      const figure = make("figure", {}, make("figcaption", {}, picture.name));
      figure.insertAdjacentHTML("beforeend", picture.svg);
      return figure;
    })),
  ]);
  fill("curves-shown", ...(parts.length ? parts : [none("A curve appears with a run's second report.")]));
}

function classes() {
  const keys = known();
  const protocols = [...new Set(keys.flatMap(key => Object.keys(details.get(key).classes)))];
  const protocol = offer("protocol", protocols.map(name => [name, name]));
  const names = [...new Set(keys.flatMap(key => Object.keys(details.get(key).classes[protocol] ?? {})))];
  const lines = names.flatMap(name => {
    const bars = keys.filter(key => name in (details.get(key).classes[protocol] ?? {})).map(key => {
      const value = details.get(key).classes[protocol][name];
      const width = Math.max(0, Math.min(100, value ?? 0));
      const bar = make("i", {"aria-hidden": "true", style: {width: `${width}%`, background: styleOf(key).color}});
      const told = make("span", {class: "hidden"}, `${labelOf(key)}: `);
      return make("li", {title: `${labelOf(key)}: ${percent(value)}`}, bar, told, make("span", {}, percent(value)));
    });
    return [make("div", {class: "class"}, name), make("ul", {"aria-label": `IoU of ${name}, percent`}, ...bars)];
  });
  const told = none("IoU of each class in percent. An empty bar with \u2013: the class does not occur.");
  if (!lines.length) return fill("classes-shown", none("No shown run has been scored yet."));
  fill("classes-shown", told, make("div", {class: "bars"}, ...lines));
}

function confusion() {
  const keys = known().filter(key => details.get(key).confusion.matrix.length);
  const key = offer("confusion-run", keys.map(each => [labelOf(each), each]));
  if (!keys.length) return fill("confusion-shown", none("No shown run has kept a confusion matrix yet."));
  const {classes: names, matrix} = details.get(key).confusion;
  const head = make("tr", {}, make("th", {scope: "col"}, "label \\ decided"),
    ...names.map(name => make("th", {scope: "col"}, name)));
  const body = matrix.map((line, row) => {
    const sum = line.reduce((a, b) => a + b, 0);
    return make("tr", {}, make("th", {scope: "row"}, names[row]), ...line.map((pixels, column) => {
      const share = sum ? pixels / sum : 0;
      const text = sum ? (100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0) : UNKNOWN;
      const title = `${names[row]} decided as ${names[column]}: ${count(pixels)} pixels`;
      return make("td", {title, style: {"background-color": tint(row === column, share)}}, text);
    }));
  });
  const caption = make("caption", {}, `${labelOf(key)}: percent of the label's pixels, by what they were decided as`);
  const whole = make("table", {class: "matrix"}, caption, make("thead", {}, head), make("tbody", {}, ...body));
  fill("confusion-shown", region("Confusion matrix", whole));
}

const tint = (right, share) => `rgb(${right ? "46 125 70" : "211 60 48"} / ${(0.75 * Math.sqrt(share)).toFixed(3)})`;

function region(name, content) {
  return make("div", {class: "scroll tall", tabindex: "0", role: "region", "aria-label": name}, content);
}

function album() {
  const any = together.album.scenes.length > 0;
  at("slider-part").hidden = !any;
  at("no-pictures").hidden = any;
  if (!any) return;
  showAlbum(together.album);
  const colors = Object.assign({}, ...known().map(key => details.get(key).colors));
  fill("palette", ...Object.entries(colors).map(([name, color]) =>
    make("span", {}, make("i", {class: "mark", style: {background: color}}), name)));
}

function ofStages() {
  const keys = known().filter(key => details.get(key).pictures.length);
  const key = offer("stages-run", keys.map(each => [labelOf(each), each]));
  if (!keys.length) return fill("of-stages-shown", none("No shown run has kept such a picture yet."));
  const figures = pictures => make("div", {class: "figures wide"}, ...pictures.map(picture => {
    const address = `runs/${key}/${picture.address}`;
    const told = [picture.when, picture.what].filter(Boolean).join(": ");
    const image = make("img", {src: address, loading: "lazy", alt: `${told}, ${labelOf(key)}`});
    const link = make("a", {href: address, target: "_blank", rel: "noopener", title: "open at full size"}, image);
    return make("figure", {}, make("figcaption", {}, told), link);
  }));
  const all = details.get(key).pictures;
  const scored = all.filter(each => !each.what);
  const staged = all.filter(each => each.what);
  const parts = staged.length ? [figures(staged)] : [];
  if (scored.length) parts.push(make("h3", {}, "Predictions at evaluations"), figures(scored));
  const open = at("of-stages-shown").querySelectorAll("a");
  const focused = [...open].findIndex(link => link === document.activeElement);
  fill("of-stages-shown", ...parts);
  if (focused >= 0) at("of-stages-shown").querySelectorAll("a")[focused]?.focus();
}

function settings() {
  const keys = known();
  const names = [...new Set(keys.flatMap(key => Object.keys(details.get(key).settings)))];
  const value = (key, name) => details.get(key).settings[name] ?? UNKNOWN;
  const differ = names.filter(name => new Set(keys.map(key => value(key, name))).size > 1);
  const grid = (title, lines) => {
    const heads = ["setting", ...keys.map(labelOf)].map(text => make("th", {scope: "col"}, text));
    const body = lines.map(name =>
      make("tr", {}, make("th", {scope: "row"}, name), ...keys.map(key => make("td", {}, value(key, name)))));
    const head = make("thead", {}, make("tr", {}, ...heads));
    return region(title, make("table", {class: "settings"}, head, make("tbody", {}, ...body)));
  };
  const alone = keys.length < 2 ? "Mark two runs or more." : "The shown runs have the same settings.";
  fill("differences-shown", differ.length ? grid("Settings that differ", differ) : none(alone));
  fill("settings-shown", names.length ? grid("All settings", names) : none("No shown run tells its settings."));
}

function warnings() {
  const parts = (chosen ?? []).flatMap(key => {
    const run = details.get(key) ?? {};
    const warned = (run.warnings ?? []).map(([step, text]) => `step ${count(step)}: ${text}`);
    const told = [...(run.problems ?? []), ...warned];
    if (!told.length) return [];
    return [make("h3", {}, labelOf(key)), make("ul", {class: "told"}, ...told.map(text => make("li", {}, text)))];
  });
  fill("warnings-shown", ...(parts.length ? parts : [none("None of the shown runs has warned.")]));
}

sortable(table);
at("filter").addEventListener("input", filter);
at("show-found").addEventListener("click", () => mark(found().map(run => run.key)));
at("show-none").addEventListener("click", () => mark([]));
at("protocol").addEventListener("change", classes);
at("confusion-run").addEventListener("change", confusion);
at("stages-run").addEventListener("change", ofStages);
at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", `${paused}`);
  at("pause").textContent = paused ? "Go on" : "Pause";
  tell(paused ? "Paused." : "Following the runs.");
  look();
});
document.addEventListener("visibilitychange", look);
look();
setInterval(look, EVERY);
