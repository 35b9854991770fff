"use strict";

let figures = [];
const dark = matchMedia("(prefers-color-scheme: dark)");
const PRINT_WIDTH = 640;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function painted({ colour: name, line, marker, ...trace }) {
  const paint = { color: colour(name) };
  return { ...trace, line: { ...line, ...paint }, marker: { ...marker, ...paint } };
}

function axis(given) {
  const lines = { gridcolor: colour("rule"), linecolor: colour("rule"), zeroline: false };
  return { automargin: true, ...lines, ...given };
}

// Legends and bars get the room that they need.
function height(traces) {
  const legend = traces.length > 1 ? 20 * Math.ceil(traces.length / 2) : 0;
  const bars = traces[0].type === "bar" ? traces[0].y.length : 0;
  return legend + Math.max(300, 80 + 24 * bars);
}

function layout({ xaxis, yaxis, ...given }, size) {
  return {
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal" },
    margin: { l: 60, r: 15, t: 10, b: 50 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
    hoverlabel: { bgcolor: colour("page"), font: { color: colour("ink") } },
    ...size,
    ...given,
    xaxis: axis(xaxis),
    yaxis: axis(yaxis),
  };
}

function draw(width) {
  if (!window.Plotly) {
    return;
  }
  for (const plot of document.querySelectorAll(".plot")) {
    const figure = figures[plot.dataset.figure];
    Plotly.react(plot, figure.traces.map(painted), layout(figure.layout, { width, height: height(figure.traces) }), {
      displayModeBar: false,
      responsive: true,
    });
  }
}

const DIGITS =
  "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";

// Five digits in base 85 are four bytes; the last group may have fewer of both.
function bytes(text) {
  const values = new Uint8Array(128);
  [...DIGITS].forEach((digit, value) => (values[digit.charCodeAt(0)] = value));
  const whole = new Uint8Array(Math.ceil(text.length / 5) * 4);
  const view = new DataView(whole.buffer);
  for (let at = 0, to = 0; at < text.length; at += 5, to += 4) {
    let word = 0;
    for (let digit = at; digit < at + 5; digit++) {
      word = word * 85 + (digit < text.length ? values[text.charCodeAt(digit)] : 84);
    }
    view.setUint32(to, word);
  }
  return whole.subarray(0, whole.length - ((5 - (text.length % 5)) % 5));
}

async function unpacked(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

function brought(name) {
  return unpacked(document.getElementById(name).textContent);
}

// A part may have the place of another in it.
function complete(parts) {
  for (let place; (place = document.querySelector("[data-part]")); ) {
    place.outerHTML = parts[place.dataset.part];
  }
}

async function load() {
  complete(JSON.parse(await brought("parts")));
  const script = document.createElement("script");
  script.textContent = await brought("plotly");
  figures = JSON.parse(await brought("figures"));
  document.body.append(script);
  dark.addEventListener("change", () => draw());
  draw();
  document.body.dataset.drawn = "";
}

// Paper is white and has a width of its own.
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("print");
  draw(PRINT_WIDTH);
});

addEventListener("afterprint", () => {
  document.documentElement.classList.remove("print");
  draw();
});

if (document.querySelector(".plot")) {
  load();
}
