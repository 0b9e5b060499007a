// The listening room: makes what lib/report/room.py writes, players that work without it, a place to compare in.
// Sound is decoded when it is first asked for. All lies in one function: a notebook may hold several rooms.
(() => {
"use strict";
const RATE = 24000;                 // samples a second of every take
const FADE = 0.005;                 // seconds in which one take gives way to another
const LEAD = 0.02;                  // seconds from a press to the first sample, in which all sources are made ready
const ANCHOR = "3.5 kHz anchor";
const COLUMNS = ["room", "listener", "test", "trial", "line", "a", "b", "x", "answer", "right", "take", "score", "seconds"];
const TESTS = {
  ABX: "ABX: is X the one or the other?",
  preference: "Preference: which of two is better?",
  MUSHRA: "MUSHRA: how good is each, from 0 to 100?",
};
const SCALE = ["bad", "poor", "fair", "good", "excellent"];
const KEYS = [["space", "play and pause,"], ["1 2 3", "or"], ["← →", "another take,"], ["Home", "to the start,"],
  ["L", "loop,"], ["[ ]", "its ends."]];
let context = null, sounding = null;        // the clock and output of all players, and the one that plays

function clock() {
  return context ??= new AudioContext({sampleRate: RATE});
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Set what is another: it is asked for at each frame of the screen, and a screen reader hears of each that is set.
function set(element, values) {
  for (const [name, value] of Object.entries(values)) if (element[name] !== value) element[name] = value;
}

function button(text, onclick) {
  return make("button", {type: "button", onclick}, text);
}

// The samples of an <audio> with a data: address, decoded once.
function decoded(audio) {
  return audio.decoded ??= clock().decodeAudioData(
    Uint8Array.from(atob(audio.src.split(",")[1]), character => character.charCodeAt(0)).buffer);
}

// The low anchor of ITU-R BS.1534, at most 3.5 kHz wide, 25 dB down at 4 and 50 at 4.5: a sinc under a Blackman window.
async function lowpassed(buffer) {
  const taps = 401, middle = (taps - 1) / 2, edge = 3750 / RATE;
  const offline = new OfflineAudioContext(1, buffer.length + middle, RATE);
  const kernel = offline.createBuffer(1, taps, RATE), cut = offline.createBuffer(1, buffer.length, RATE);
  kernel.getChannelData(0).forEach((_, i, h) => {
    const t = i - middle, turn = 2 * Math.PI * i / (taps - 1);
    h[i] = (t ? Math.sin(2 * Math.PI * edge * t) / (Math.PI * t) : 2 * edge) * (0.42 - 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn));
  });
  const source = new AudioBufferSourceNode(offline, {buffer});
  source.connect(new ConvolverNode(offline, {buffer: kernel, disableNormalization: true})).connect(offline.destination);
  source.start();
  cut.copyToChannel((await offline.startRendering()).getChannelData(0).subarray(middle), 0);
  return cut;
}

// Sounds that run together, one of them heard. Padded to one length, their sources start at one moment of the clock, and a
// switch moves gains alone: it comes at the sample where the other was. `load` gives a promise of each sound's samples; `draw`
// is called when anything changed.
function player(load, seconds, draw) {
  let buffers = null, sources = [], at = 0, began = 0;

  const self = {
    chosen: 0, playing: false, loop: false, from: 0, to: seconds, seconds, problem: "",
    heard: new Set(),                       // which sounds were chosen while it played
    get position() {
      if (!sources.length) return at;
      const now = at + Math.max(0, clock().currentTime - began);
      return self.loop && now > self.to ? self.from + (now - self.from) % (self.to - self.from) : Math.min(now, seconds);
    },
    toggle() {
      self.playing ? self.pause() : start();
    },
    pause() {
      halt();
      self.playing = false;
      draw();
    },
    choose(which) {
      const now = clock().currentTime;
      self.chosen = which;
      sources.forEach(({gain}, i) => {
        gain.cancelScheduledValues(now);
        gain.setValueAtTime(gain.value, now);
        gain.linearRampToValueAtTime(Number(i === which), now + FADE);
      });
      self.playing ? draw() : start();
      if (sources.length) self.heard.add(which);
    },
    seek(second) {
      const playing = self.playing;
      halt();
      at = Math.min(Math.max(0, second), seconds);
      playing ? start() : draw();
    },
    repeat(loop, from = 0, to = seconds) {  // a part, or all
      const part = to - from > 0.05 ? {from, to} : {from: 0, to: seconds};
      const where = self.position;
      Object.assign(self, {loop, ...part});
      self.seek(where);
    },
  };

  function halt() {
    at = self.position;
    for (const {source} of sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    sources = [];
  }

  async function start() {
    if (sounding !== self) sounding?.pause();
    sounding = self;
    self.playing = true;
    draw();
    clock().resume();
    try {
      buffers ??= (await Promise.all(load())).map(buffer => {
        const padded = clock().createBuffer(1, Math.round(seconds * RATE), RATE);
        padded.copyToChannel(buffer.getChannelData(0), 0);
        return padded;
      });
    } catch (error) {
      Object.assign(self, {playing: false, problem: `This browser cannot decode the sound (${error.message}).`});
      return draw();
    }
    if (!self.playing || sources.length) return;            // paused, or started once more, meanwhile
    if (at >= seconds || self.loop && (at < self.from || at >= self.to)) at = self.loop ? self.from : 0;
    began = clock().currentTime + LEAD;
    sources = buffers.map((buffer, i) => {
      const source = new AudioBufferSourceNode(clock(), {buffer, loop: self.loop, loopStart: self.from, loopEnd: self.to});
      const gain = new GainNode(clock(), {gain: Number(i === self.chosen)});
      source.connect(gain).connect(clock().destination);
      source.start(began, at);
      return {source, gain: gain.gain};
    });
    sources[0].source.onended = () => {
      self.pause();
      self.seek(0);
    };
    self.heard.add(self.chosen);
    tick();
  }

  function tick() {
    if (!sources.length) return;
    draw();
    requestAnimationFrame(tick);
  }

  return self;
}

// What a player is worked by: play, loop, position. `draw` shows how it stands.
function controls(self) {
  const play = button("", self.toggle), loop = button("Loop", () => self.repeat(!self.loop)), time = make("span", {className: "time"});
  const slider = make("input", {className: "position", type: "range", min: 0, max: self.seconds, step: 0.01, ariaLabel: "position",
    oninput: () => self.seek(Number(slider.value))});
  play.className = "play";
  return {
    element: make("div", {className: "bar"}, play, loop, slider, time),
    draw() {
      const words = `${self.position.toFixed(1)} of ${self.seconds.toFixed(1)} s`;
      set(play, {textContent: self.playing ? "Pause" : "Play"});
      set(loop, {ariaPressed: String(self.loop)});
      set(slider, {value: self.position.toFixed(2), ariaValueText: words});
      set(time, {textContent: self.problem || words});
    },
  };
}

// Keys, while the focus is inside: space, arrows, home, l, [ and ], and for each sound's button what its data-key says.
function listen(element, self, buttons) {
  element.addEventListener("keydown", event => {
    const key = event.key.toLowerCase(), target = event.target, slides = target.matches("input");
    const named = buttons.findIndex(one => one.dataset.key === key), step = {arrowleft: -1, arrowright: 1}[key];
    const switched = named >= 0 ? named : step && !slides ? (self.chosen + step + buttons.length) % buttons.length : -1;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (switched >= 0) {
      self.choose(switched);
      if (!slides) buttons[switched].focus();
    } else if (key === " " && !target.matches("button, summary")) self.toggle();
    else if (key === "home" && !slides) self.seek(0);
    else if (key === "l") self.repeat(!self.loop);
    else if (key === "[") self.repeat(true, self.position, self.to);
    else if (key === "]") self.repeat(true, self.from, self.position);
    else return;
    event.preventDefault();
  });
}

// A button for a sound: the one that is chosen plays and pauses.
function chooser(self, which, text, key) {
  const one = button(text, () => which === self.chosen ? self.toggle() : self.choose(which));
  one.dataset.key = key;
  return one;
}

function upgrade(line) {
  const figures = [...line.querySelectorAll(".take")], seconds = Number(line.dataset.seconds);
  const sounds = new Map(figures.map(figure => [figure.dataset.take, figure.querySelector("audio")]));
  const self = player(() => [...sounds.values()].map(decoded), seconds, draw), bar = controls(self);
  const takes = figures.map((figure, i) => {
    const picture = figure.querySelector("img"), cursor = make("i", {className: "cursor"}), part = make("i", {className: "part"});
    const view = make("div", {className: "view"}), name = chooser(self, i, figure.dataset.take, String(i + 1));
    picture.replaceWith(view);
    view.append(picture, part, cursor);
    point(view, self, i);
    figure.querySelector("figcaption").replaceChildren(name);
    return {figure, name, cursor, part};
  });

  function draw() {
    bar.draw();
    takes.forEach(({figure, name, cursor, part}, i) => {
      set(name, {ariaPressed: String(i === self.chosen)});
      figure.classList.toggle("sounding", i === self.chosen && self.playing);
      cursor.style.left = `${100 * self.position / seconds}%`;
      part.hidden = !self.loop;
      Object.assign(part.style, {left: `${100 * self.from / seconds}%`, width: `${100 * (self.to - self.from) / seconds}%`});
    });
  }

  line.querySelector(".takes").before(bar.element);
  listen(line, self, takes.map(take => take.name));
  draw();
  return {id: line.dataset.line, text: line.querySelector("h3").textContent, language: line.querySelector("h3").lang, seconds, sounds};
}

// On a spectrogram a press plays its take from there, and a drag loops a part of it.
function point(view, self, which) {
  let down = null;
  const second = event => {
    const box = view.getBoundingClientRect();
    return self.seconds * Math.min(Math.max(0, (event.clientX - box.left) / box.width), 1);
  };
  view.addEventListener("pointerdown", event => {
    down = {x: event.clientX, second: second(event)};
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointercancel", () => down = null);
  view.addEventListener("pointerup", event => {
    if (!down) return;
    const [from, to] = [down.second, second(event)].sort((a, b) => a - b);
    if (Math.abs(event.clientX - down.x) > 5) self.repeat(true, from, to);
    else self.seek(to);
    self.choose(which);
    down = null;
  });
}

function random(below) {
  return crypto.getRandomValues(new Uint32Array(1))[0] % below;
}

function shuffled(list) {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

// The probability of k or more out of n, each as likely as not.
function atLeast(k, n) {
  let sum = 0, term = 0.5 ** n;             // n over i, times that
  for (let i = 0; i <= n; i++) {
    if (i >= k) sum += term;
    term *= (n - i) / (i + 1);
  }
  return Math.min(sum, 1);
}

function inWords(p) {
  return p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
}

// What is asked, in random order: of ABX at least 12, A and B changing sides; of a preference each sentence in both orders;
// of MUSHRA each sentence once.
function drawn(kind, a, b, lines, reference) {
  if (kind === "MUSHRA")
    return shuffled(lines.filter(line => line.sounds.has(reference))).map(line => ({line: line.id, order: shuffled([...line.sounds.keys(), ANCHOR])}));
  const both = lines.filter(line => line.sounds.has(a) && line.sounds.has(b)), times = kind === "ABX" ? Math.ceil(12 / both.length) : 2;
  return shuffled(both.flatMap(line => Array.from({length: times}, (_, i) => {
    const pair = (kind === "ABX" ? random(2) : i) ? [b, a] : [a, b];
    return {line: line.id, a: pair[0], b: pair[1], ...(kind === "ABX" && {x: pair[random(2)]})};
  })));
}

// What came out of the rows of one test of one pair, in a sentence or a table.
function outcome(rows, reference, quantiles) {
  const {test, a, b} = rows[0], n = rows.length;
  if (test === "ABX") {
    const right = rows.filter(row => row.right === 1).length;
    return make("p", {}, `ABX, ${pair(a, b)}: ${right} of ${n} right, ${inWords(atLeast(right, n))} (exact binomial, one-sided).`);
  }
  if (test === "preference") {
    const [one, other] = [a, b].sort(), wins = rows.filter(row => row.answer === one).length;
    const p = Math.min(1, 2 * atLeast(Math.max(wins, n - wins), n));
    return make("p", {}, `Preference: ${one} in ${wins} of ${n}, ${other} in ${n - wins}, ${inWords(p)} (exact binomial, two-sided).`);
  }
  const takes = grouped(rows, row => row.take);
  const hidden = takes.get(reference), low = hidden.filter(row => row.score < 90).length;
  const table = make("table", {}, make("caption", {}, "MUSHRA: mean score of each, and its 95 % interval over sentences"));
  const total = scores => scores.reduce((sum, row) => sum + row.score, 0), m = hidden.length;
  for (const [take, scores] of [...takes].sort((one, other) => total(other[1]) - total(one[1]))) {
    const mean = total(scores) / m;
    const spread = Math.sqrt(scores.reduce((sum, row) => sum + (row.score - mean) ** 2, 0) / (m - 1) / m);
    const half = m > 1 ? quantiles[m - 2] * spread : NaN;
    const interval = m > 1 ? `${(mean - half).toFixed(1)} to ${(mean + half).toFixed(1)}` : "";
    table.append(make("tr", {}, make("th", {scope: "row"}, take), make("td", {}, mean.toFixed(1)), make("td", {}, interval)));
  }
  const screened = low > 0.15 * hidden.length ? " Over 15 %: by the post-screening of BS.1534 these scores do not count." : "";
  return make("div", {}, table, make("p", {}, `The hidden reference got less than 90 in ${low} of ${hidden.length} trials.${screened}`));
}

function pair(a, b) {
  return [a, b].sort().join(" and ");
}

function grouped(rows, by) {
  const out = new Map();
  for (const row of rows) out.set(by(row), [...(out.get(by(row)) ?? []), row]);
  return out;
}

function csv(rows) {
  const cell = value => /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
  return [COLUMNS, ...rows.map(row => COLUMNS.map(name => row[name] ?? ""))].map(cells => cells.map(cell).join(",") + "\n").join("");
}

// What was kept of a listener, and a function that keeps it; where the browser keeps nothing, for as long as the page is open.
function memory(key) {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(key));
  } catch { /* not allowed, or not ours */ }
  const session = kept ?? {listener: "", rows: [], test: null};
  return [session, () => {
    try {
      localStorage.setItem(key, JSON.stringify(session));
    } catch { /* not allowed, or full */ }
  }];
}

function blind(room, lines) {
  const {room: key, reference, t} = room.dataset, quantiles = t.split(" ").map(Number);
  const labels = [...new Set(lines.flatMap(line => [...line.sounds.keys()]))];
  const [session, keep] = memory(`listening room ${key}`), panel = make("div", {className: "test"});

  function show(focus = true) {
    panel.replaceChildren(...(session.test ? trial() : setup()));
    if (focus) panel.querySelector("[tabindex]")?.focus();
  }

  function setup() {
    const select = (options, chosen) => make("select", {}, ...options.map((text, i) => make("option", {value: text, selected: i === chosen}, TESTS[text] ?? text)));
    const listener = make("input", {required: true, maxLength: 40, value: session.listener, disabled: session.rows.length > 0});
    const kind = select(Object.keys(TESTS), 0), a = select(labels, Math.min(2, labels.length - 2)), b = select(labels, Math.min(3, labels.length - 1));
    const problem = make("p", {role: "alert"});
    const of = make("span", {}, make("label", {}, "of ", a), make("label", {}, "and ", b));
    kind.onchange = () => of.hidden = kind.value === "MUSHRA";
    const form = make("form", {}, make("label", {}, "Your name or initials ", listener), make("label", {}, "Test ", kind), of,
      make("button", {}, "Start"));
    form.onsubmit = event => {
      event.preventDefault();
      const two = kind.value !== "MUSHRA", trials = drawn(kind.value, a.value, b.value, lines, reference);
      const done = session.rows.some(row => row.test === kind.value && (!two || pair(row.a, row.b) === pair(a.value, b.value)));
      problem.textContent = two && a.value === b.value ? "Choose two that differ." : done ? "You have done this test already."
        : trials.length ? "" : "No sentence is there for this test.";
      if (problem.textContent) return;
      Object.assign(session, {listener: listener.value.trim(), test: {kind: kind.value, trials, at: 0, rows: []}});
      keep();
      show();
    };
    return [form, problem, ...(session.rows.length ? results() : [])];
  }

  function results() {
    const tests = grouped(session.rows, row => row.test === "MUSHRA" ? row.test : `${row.test} ${pair(row.a, row.b)}`);
    const file = new Blob([csv(session.rows)], {type: "text/csv"});
    const forget = button("Forget these results", () => {
      if (!confirm("Forget what you answered? Download it first.")) return;
      Object.assign(session, {listener: "", rows: []});
      keep();
      show();
    });
    return [make("h4", {tabIndex: -1}, `What ${session.listener} heard`),
      ...[...tests.values()].map(rows => outcome(rows, reference, quantiles)),
      make("p", {}, make("a", {href: URL.createObjectURL(file), download: `listening-${session.listener.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`},
        "Download as CSV"), " ", forget)];
  }

  function trial() {
    const {kind, trials, at, rows} = session.test, one = trials[at], began = performance.now();
    const line = lines.find(({id}) => id === one.line), hidden = kind === "MUSHRA" ? one.order : [one.a, one.b, ...(one.x ? [one.x] : [])];
    const names = kind === "MUSHRA" ? ["Reference", ...hidden.map((_, i) => `Sound ${i + 1}`)] : ["A", "B", "X"].slice(0, hidden.length);
    const wanted = kind === "MUSHRA" ? [reference, ...hidden] : hidden;
    const samples = label => label === ANCHOR ? decoded(line.sounds.get(reference)).then(lowpassed) : decoded(line.sounds.get(label));
    const self = player(() => wanted.map(samples), line.seconds, draw), bar = controls(self);
    const buttons = names.map((name, i) => chooser(self, i, name, kind === "MUSHRA" ? String(i) : name.toLowerCase()));
    const points = hidden.map(() => make("output", {}, "50"));
    const scores = kind === "MUSHRA" ? hidden.map((_, i) => make("input", {type: "range", min: 0, max: 100, value: 50,
      ariaLabel: `score of sound ${i + 1}`, oninput: event => points[i].textContent = event.target.value})) : [];

    function answered(more) {
      self.pause();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      rows.push(...more.map(row => ({room: key, listener: session.listener, test: kind, trial: at + 1, line: line.id, ...row, seconds})));
      session.test.at++;
      if (session.test.at === trials.length) {
        session.rows.push(...rows);
        session.test = null;
      }
      keep();
      show();
    }

    const choice = (text, answer) => button(text, () => answered([{a: one.a, b: one.b, ...(one.x && {x: one.x, right: Number(answer === one.x)}), answer}]));
    const answers = kind === "MUSHRA" ? [button("Next", () => answered(hidden.map((take, i) => ({take, score: Number(scores[i].value)}))))]
      : kind === "ABX" ? [choice("X is A", one.a), choice("X is B", one.b)] : [choice("A is better", one.a), choice("B is better", one.b)];
    const stop = button("Stop this test", () => {
      if (!confirm("Stop? What you answered in this test is then lost.")) return;
      self.pause();
      session.test = null;
      keep();
      show();
    });
    const sounds = kind === "MUSHRA" ? make("div", {className: "scores"}, buttons[0], make("span", {className: "scale"}, ...SCALE.map(word => make("span", {}, word))),
      make("span"), ...scores.flatMap((score, i) => [buttons[i + 1], score, points[i]])) : make("div", {className: "sounds"}, ...buttons);

    function draw() {
      bar.draw();
      buttons.forEach((one, i) => set(one, {ariaPressed: String(i === self.chosen)}));
      for (const answer of answers) answer.disabled = self.heard.size < buttons.length;
    }

    draw();
    const element = make("div", {}, make("h4", {tabIndex: -1}, `${kind}, ${at + 1} of ${trials.length}`), make("p", {lang: line.language}, line.text), bar.element,
      sounds, make("p", {className: "answers"}, ...answers, stop), make("p", {className: "note"}, "Hear every sound, as often as you like, then answer."));
    listen(element, self, buttons);
    return [element];
  }

  show(false);
  return make("details", {className: "tests", open: session.test !== null}, make("summary", {}, "Blind tests: listen without the names"),
    make("p", {}, "ABX asks whether you can tell two apart, preference which you like better, MUSHRA how good each is beside the speech itself. The order is random, what you answered is kept in this browser, and nothing leaves it."),
    panel);
}

for (const room of document.querySelectorAll(".room:not(.ready)")) {
  room.classList.add("ready");
  room.dataset.lmSuppressShortcuts = "true";        // JupyterLab has other uses for these keys
  const lines = [...room.querySelectorAll(".line")].map(upgrade);
  room.prepend(make("p", {className: "note"},
    "Press a name to hear it; another goes on where this one is. A press on a spectrogram plays from there, a drag over it loops ",
    "that part. Keys, once a sentence has the focus: ", ...KEYS.flatMap(([key, what]) => [make("kbd", {}, key), ` ${what} `])));
  room.append(blind(room, lines));
}
})();
