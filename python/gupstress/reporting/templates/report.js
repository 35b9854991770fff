"use strict";

const figures = JSON.parse(document.getElementById("figures").textContent);
const plots = document.querySelectorAll(".plot");
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
  for (const plot of plots) {
    const figure = figures[plot.dataset.figure];
    Plotly.react(plot, figure.traces.map(painted), layout(figure.layout, { width, height: height(figure.traces) }), {
      displayModeBar: false,
      responsive: true,
    });
  }
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

dark.addEventListener("change", () => draw());
draw();
