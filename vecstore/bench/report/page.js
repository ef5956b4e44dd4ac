// What a report does: its theme, its charts, and tables that are sorted and filtered.
"use strict";
(() => {
  const root = document.documentElement;
  const narrow = window.matchMedia("(max-width: 40rem)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.getElementById("theme");
  const status = document.getElementById("status");
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const views = new Map();

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  function nameToggle() {
    toggle.textContent = isDark() ? "Light theme" : "Dark theme";
  }

  // Colours that begin with @ are those of page.css.
  function painted(part, style) {
    if (typeof part === "string") return /^@(\w+)$/.test(part) ? style.getPropertyValue("--" + part.slice(1)).trim() : part;
    if (Array.isArray(part)) return part.map((one) => painted(one, style));
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(
      Object.entries(part).map(([key, one]) => [key, key === "data" ? one : painted(one, style)]),
    );
  }

  function config(style) {
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const text = { labelColor: colour("ink"), titleColor: colour("ink"), labelFontSize: 12, titleFontSize: 12 };
    return {
      background: "transparent",
      font: getComputedStyle(document.body).fontFamily,
      view: { stroke: colour("line") },
      axisY: { labelLimit: narrow.matches ? 150 : 210, labelFontSize: narrow.matches ? 10.5 : 12 },
      axis: { ...text, titleFontWeight: "normal", gridColor: colour("line"), gridOpacity: 0.6, domainColor: colour("faint"), tickColor: colour("faint") },
    };
  }

  async function drawOne(id, spec, style) {
    const holder = document.getElementById(id);
    if (views.has(id)) views.get(id).finalize();
    views.delete(id);
    try {
      const made = await window.vegaEmbed(holder, painted(spec, style), {
        actions: false, ast: true, renderer: "svg", config: config(style), tooltip: { theme: "custom" },
      });
      views.set(id, made);
      const front = holder.dataset.front;
      if (front) await made.view.signal("family", front).runAsync();
    } catch (error) {
      holder.textContent = "This chart could not be drawn; its figures stand in the table below it.";
      console.error(error);
    }
  }

  async function draw() {
    const style = getComputedStyle(root);
    for (const [id, spec] of Object.entries(charts)) await drawOne(id, spec, style);
    root.dataset.drawn = String((Number(root.dataset.drawn) || 0) + 1);
  }

  let drawing = Promise.resolve();
  function redraw() {
    nameToggle();
    drawing = drawing.then(draw);
  }

  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const legend = button.closest(".legend");
      const holder = document.getElementById(legend.dataset.chart);
      const chosen = button.getAttribute("aria-pressed") !== "true";
      for (const other of legend.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(chosen));
      holder.dataset.front = chosen ? button.dataset.family : "";
      const made = views.get(legend.dataset.chart);
      if (made) made.view.signal("family", holder.dataset.front).runAsync();
    });
  }

  const NUMBER = /^[-+]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?/i;
  function number(text) {
    const found = NUMBER.exec(text);
    return found ? Number(found[0].replaceAll(",", "")) : null;
  }

  function sort(table, heading, at) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = heading.classList.contains("n");
    const keyed = [...table.tBodies[0].rows].map((row) => {
      const text = row.cells[at].textContent;
      return { row, key: numeric ? number(text) : text.toLowerCase() };
    });
    const sign = down ? -1 : 1;
    keyed.sort((one, two) => {
      // Rows without a figure come last, either way.
      if (one.key === null || two.key === null) return (one.key === null) - (two.key === null);
      return sign * (numeric ? one.key - two.key : one.key.localeCompare(two.key, "en", { numeric: true }));
    });
    table.tBodies[0].append(...keyed.map((one) => one.row));
    const name = heading.textContent.trim();
    status.textContent = `${table.caption.textContent}: sorted by ${name}, ${down ? "descending" : "ascending"}`;
  }

  function filter(table, input, count) {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
  }

  for (const table of document.querySelectorAll("table.sorts")) {
    [...table.tHead.rows[0].cells].forEach((heading, at) => {
      heading.querySelector("button").addEventListener("click", () => sort(table, heading, at));
    });
  }
  for (const input of document.querySelectorAll(".tools input")) {
    const table = document.getElementById(input.dataset.table);
    const count = input.closest(".tools").querySelector("output");
    input.addEventListener("input", () => filter(table, input, count));
    input.closest(".tools").hidden = false;
  }
  redraw();
})();
