"use strict";
const root = document.documentElement;
const told = document.getElementById("told");
const tell = text => { told.textContent = text; };

// sorting --------------------------------------------------------------------------------------

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const value = row => row.cells[column].dataset.sort;
    const rows = [...body.rows];
    const numbers = rows.every(row => value(row) === "" || !isNaN(value(row)));
    const now = head.getAttribute("aria-sort");
    const up = now ? now === "descending" : !numbers;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    rows.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numbers ? a - b : a.localeCompare(b);
      return up ? order : -order;
    });
    body.append(...rows);
    tell(`Sorted by ${head.textContent}, ${up ? "ascending" : "descending"}.`);
  }));
}

// light and dark -------------------------------------------------------------------------------

const themes = { auto: "light dark", light: "light", dark: "dark" };
const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const names = Object.keys(themes);
  const label = theme.querySelector("span");
  label.textContent = names[(names.indexOf(label.textContent) + 1) % names.length];
  root.style.colorScheme = themes[label.textContent];
  tell(`Theme: ${label.textContent}.`);
});

// one arm in all figures -----------------------------------------------------------------------

for (const bar of document.querySelectorAll(".highlight")) {
  const section = bar.closest("section");
  const figures = section.querySelector(".figures");
  bar.hidden = false;
  bar.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    const chosen = new Set([...bar.querySelectorAll("[aria-pressed=true]")].map(each => each.dataset.highlight));
    for (const element of section.querySelectorAll("svg [data-arm], tr[data-arm]")) {
      element.classList.toggle("lit", chosen.has(element.dataset.arm));
    }
    figures.classList.toggle("lit", chosen.size > 0);
  });
}

// saving and copying ---------------------------------------------------------------------------

const addButton = (place, text, label, act) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", () => act(button));
  place.append(button);
};

const save = (address, name) => {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
};

const colour = name => {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

/** A figure as a file of its own, in the colours that it has now. */
const alone = (svg, scale) => {
  const copy = svg.cloneNode(true);
  const box = svg.viewBox.baseVal;
  copy.setAttribute("width", box.width * scale);
  copy.setAttribute("height", box.height * scale);
  const style = document.createElementNS(svg.namespaceURI, "style");
  style.textContent = document.getElementById("figure-style").textContent
    .replace(/var\((--[a-z0-9-]+)\)/g, (_, name) => colour(name))
    + `svg.figure { background: ${colour("--page")}; }`;
  copy.prepend(style);
  return "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
};

const savePng = (svg, name) => {
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    save(canvas.toDataURL("image/png"), name);
  };
  image.src = alone(svg, 3);
};

for (const figure of document.querySelectorAll("figure")) {
  const [svg, name] = [figure.querySelector("svg"), figure.dataset.file];
  const title = figure.querySelector("strong").textContent;
  const line = document.createElement("p");
  figure.append(line);
  addButton(line, "Save SVG", `Save as SVG: ${title}`, () => save(alone(svg, 1), `${name}.svg`));
  addButton(line, "Save PNG", `Save as PNG: ${title}`, () => savePng(svg, `${name}.png`));
}

const copy = async (element, button) => {
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "copied";
    tell("Copied.");
  } catch {
    getSelection().selectAllChildren(element);
    button.textContent = "selected";
  }
};

for (const command of document.querySelectorAll("code.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "copy";
  button.setAttribute("aria-label", `Copy: ${command.textContent}`);
  button.addEventListener("click", () => copy(command, button));
  command.after(button);
}

// printing -------------------------------------------------------------------------------------

addEventListener("beforeprint", () => {
  for (const pair of document.querySelectorAll("details.pair")) pair.open = true;
});
