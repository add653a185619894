const body = document.body;
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const result = body.dataset.result;
const framed = window.parent !== window;

// The page knows its scan by its own file name alone.
const scan = decodeURIComponent(location.pathname.split("/").pop() || "").replace(/_report\.html$/, "");
if (scan) {
  document.title = scan;
  find("#name").textContent = scan;
}

// ---- verdict

let entry = { result, scan, verdict: "", note: "", ...kept()[keyOf({ result, scan })] };

function showVerdict() {
  for (const button of all("#verdict [role=radio]")) {
    const on = button.dataset.value === entry.verdict;
    button.setAttribute("aria-checked", String(on));
    button.tabIndex = on || (!entry.verdict && button.dataset.value === "pass") ? 0 : -1;
  }
  if (document.activeElement !== find("#note")) find("#note").value = entry.note || "";
}

function judge(change) {
  entry = { ...entry, ...change, scan, result, reviewed: now() };
  const stored = keep(entry);
  find("#said").textContent = stored ? "Kept" : "Not kept: save the file";
  showVerdict();
  if (framed) window.parent.postMessage({ spineps: "verdict", entry }, "*");
}

const saveFile = () => download(`${scan || "scan"}_verdict.tsv`, asTsv([entry]));
all("#verdict [role=radio]").forEach((button) => button.addEventListener("click", () => judge({ verdict: button.dataset.value })));
find("#note").addEventListener("input", (event) => judge({ note: event.target.value }));
find("#save").addEventListener("click", saveFile);
find("#verdict").addEventListener("submit", (event) => event.preventDefault());
find("#note").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === "Escape") event.target.blur();
});
window.addEventListener("message", (event) => {
  if (!framed || event.source !== window.parent || event.data?.spineps !== "state") return;
  const { verdict, note } = event.data;
  entry = { ...entry, verdict: VERDICTS.includes(verdict) ? verdict : "", note: String(note ?? "") };
  showVerdict();
});

// ---- pictures

const views = (name) => all(`template[data-view=${name}]`);

function setFigure(figure, template) {
  const old = find(".stack", figure);
  const home = old && views(figure.id).find((other) => other.dataset.key === figure.dataset.key);
  if (old && home) home.content.replaceChildren(old);
  find("figcaption", figure).textContent = template.dataset.title;
  figure.dataset.key = template.dataset.key;
  figure.append(...template.content.childNodes);
}

const sagittal = find("#sagittal");
sagittal.dataset.key = "0";
function stepSagittal(by) {
  const planes = views("sagittal");
  const place = planes.findIndex((plane) => plane.dataset.key === sagittal.dataset.key) + by;
  if (planes[place]) setFigure(sagittal, planes[place]);
  markDisc(find("#axial").dataset.key);
}

function markDisc(key) {
  all(".lines line").forEach((line) => line.classList.toggle("on", line.dataset.disc === key));
  all(".discs button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.disc === key)));
}

function showDisc(key) {
  const template = views("axial").find((view) => view.dataset.key === key);
  if (!template || find("#axial").dataset.key === key) return;
  setFigure(find("#axial"), template);
  markDisc(key);
}

function stepDisc(by) {
  const keys = views("axial").map((view) => view.dataset.key);
  if (!keys.length) return;
  const place = keys.indexOf(find("#axial").dataset.key);
  showDisc(keys[place < 0 ? (by > 0 ? 0 : keys.length - 1) : Math.min(keys.length - 1, Math.max(0, place + by))]);
}

function chooseVertebra(label) {
  all(".name, tr[data-vertebra]").forEach((item) => item.classList.toggle("chosen", item.dataset.vertebra === label));
  const row = find(`tr[data-vertebra="${label}"]`);
  if (row) showDisc(row.dataset.disc);
}

function showMasks(which) {
  body.dataset.masks = which;
  all("[data-show]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.show === which)));
}

function cycleMasks() {
  const order = ["vertebrae", "structures", "none"];
  showMasks(order[(order.indexOf(body.dataset.masks) + 1) % order.length]);
}

function toggleNames() {
  find("#names").setAttribute("aria-pressed", String(!body.classList.toggle("nameless")));
}

// The planes fill the window below whatever stands above them.
function fit() {
  const top = find(".planes .stack").getBoundingClientRect().top + window.scrollY;
  find("main").style.setProperty("--above", `${Math.ceil(top) + 12}px`);
}
window.addEventListener("resize", fit);

let zoom = 1;
function resize(by) {
  zoom = Math.min(4, Math.max(0.5, zoom * by));
  find("main").style.setProperty("--zoom", zoom);
}

all("[data-show]").forEach((button) => button.addEventListener("click", () => showMasks(button.dataset.show)));
all(".discs button").forEach((button) => button.addEventListener("click", () => showDisc(button.dataset.disc)));
all("tr[data-vertebra] .pick").forEach((button) =>
  button.addEventListener("click", () => chooseVertebra(button.closest("tr").dataset.vertebra)));
document.addEventListener("click", (event) => {
  const name = event.target.closest?.(".name");
  if (name) chooseVertebra(name.dataset.vertebra);
});
for (const [id, unit] of [["fill", 100], ["brightness", 100], ["contrast", 100]]) {
  find(`#${id}`).addEventListener("input", (event) => body.style.setProperty(`--${id}`, event.target.value / unit));
}
find("#left").addEventListener("click", () => stepSagittal(-1));
find("#right").addEventListener("click", () => stepSagittal(1));
find("#smaller").addEventListener("click", () => resize(1 / 1.25));
find("#larger").addEventListener("click", () => resize(1.25));
find("#names").addEventListener("click", toggleNames);

// ---- keys

const KEYS = {
  1: () => judge({ verdict: "pass" }), 2: () => judge({ verdict: "needs-work" }), 3: () => judge({ verdict: "fail" }),
  0: () => judge({ verdict: "" }), n: () => find("#note").focus(), s: saveFile, m: cycleMasks, l: toggleNames,
  ArrowLeft: () => stepSagittal(-1), ArrowRight: () => stepSagittal(1), ArrowUp: () => stepDisc(-1), ArrowDown: () => stepDisc(1),
  "+": () => resize(1.25), "-": () => resize(1 / 1.25),
};
document.addEventListener("keydown", (event) => {
  if (!find("#keys").checked || typing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow")) return;
  const act = KEYS[event.key] || KEYS[event.key.toLowerCase()];
  if (act) act();
  else if (framed) window.parent.postMessage({ spineps: "key", key: event.key }, "*");
  if (act) event.preventDefault();
});

fit();
showVerdict();
stepDisc(-1);
if (framed) window.parent.postMessage({ spineps: "ready", result }, "*");
