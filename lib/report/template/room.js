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
    const t = i - middle, turn = 2 * Math.PI * i / (taps - 1), window = 0.42 - 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn);
    h[i] = window * (t ? Math.sin(2 * Math.PI * edge * t) / (Math.PI * t) : 2 * edge);
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
  const play = button("", self.toggle), loop = button("Loop", () => self.repeat(!self.loop));
  const slider = make("input", {className: "position", type: "range", min: 0, max: self.seconds, step: 0.01, ariaLabel: "position",
    oninput: () => self.seek(Number(slider.value))});
  const time = make("span", {className: "time"});
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
  const {textContent: text, lang: language} = line.querySelector("h3");
  return {id: line.dataset.line, text, language, seconds, sounds};
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
  const needed = kind === "MUSHRA" ? [reference] : [a, b], there = lines.filter(line => needed.every(label => line.sounds.has(label)));
  if (kind === "MUSHRA") return shuffled(there.map(line => ({line: line.id, order: shuffled([...line.sounds.keys(), ANCHOR])})));
  const times = kind === "ABX" ? Math.ceil(12 / there.length) : 2;
  return shuffled(there.flatMap(line => Array.from({length: times}, (_, i) => {
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
  const takes = grouped(rows, row => row.take), hidden = takes.get(reference), low = hidden.filter(row => row.score < 90).length;
  const table = make("table", {}, make("caption", {}, "MUSHRA: mean score of each, and its 95 % interval over sentences"));
  const means = [...takes].map(([take, of]) => ({take, of, mean: of.reduce((sum, row) => sum + row.score, 0) / of.length}));
  for (const {take, of, mean} of means.sort((one, other) => other.mean - one.mean)) {
    const m = of.length, half = quantiles[m - 2] * Math.sqrt(of.reduce((sum, row) => sum + (row.score - mean) ** 2, 0) / (m - 1) / m);
    const interval = m > 1 ? `${(mean - half).toFixed(1)} to ${(mean + half).toFixed(1)}` : "one sentence";
    table.append(make("tr", {}, make("th", {scope: "row"}, take), make("td", {}, mean.toFixed(1)), make("td", {}, interval)));
  }
  const screened = low > 0.15 * hidden.length ? "Over 15 %: by the post-screening of BS.1534 these scores do not count." : "";
  return make("div", {}, table,
    make("p", {}, `The hidden reference got less than 90 in ${low} of ${hidden.length} trials. ${screened}`));
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
  const table = [COLUMNS, ...rows.map(row => COLUMNS.map(name => row[name] ?? ""))];
  return table.map(cells => cells.map(cell).join(",") + "\n").join("");
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

// The sounds of a trial as they are named and chosen in it, with what they are.
function sounds(kind, one, reference) {
  if (kind === "MUSHRA")
    return [reference, ...one.order].map((label, i) => ({label, name: i ? `Sound ${i}` : "Reference", key: String(i)}));
  const named = {A: one.a, B: one.b, ...(one.x && {X: one.x})};
  return Object.entries(named).map(([name, label]) => ({label, name, key: name.toLowerCase()}));
}

// A choice of one of some texts.
function select(texts, chosen) {
  return make("select", {}, ...texts.map((text, i) => make("option", {value: text, selected: i === chosen}, TESTS[text] ?? text)));
}

// The blind tests of a room, in a fold: what is asked for one, its trials one after the other, what came out.
function blind(room, lines) {
  const {room: key, reference, t} = room.dataset, quantiles = t.split(" ").map(Number);
  const labels = [...new Set(lines.flatMap(line => [...line.sounds.keys()]))];
  const [session, keep] = memory(`listening room ${key}`), panel = make("div", {className: "test"});

  function show(focus = true) {
    panel.replaceChildren(...(session.test ? trial() : setup()));
    if (focus) panel.querySelector("[tabindex]")?.focus();
  }

  function setup() {
    const listener = make("input", {required: true, pattern: ".*\\S.*", maxLength: 40, value: session.listener,
      disabled: session.rows.length > 0});
    const kind = select(Object.keys(TESTS), 0), last = labels.length - 1;       // the first cores come after the speech and the codec
    const a = select(labels, Math.min(2, last - 1)), b = select(labels, Math.min(3, last));
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
    const name = `listening-${session.listener.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`;
    return [make("h4", {tabIndex: -1}, `What ${session.listener} heard`),
      ...[...tests.values()].map(rows => outcome(rows, reference, quantiles)),
      make("p", {}, make("a", {href: URL.createObjectURL(file), download: name}, "Download as CSV"), " ", forget)];
  }

  function trial() {
    const {kind, trials, at, rows} = session.test, one = trials[at], line = lines.find(({id}) => id === one.line);
    const began = performance.now();
    const hidden = sounds(kind, one, reference), sound = label => decoded(line.sounds.get(label));
    const load = () => hidden.map(({label}) => label === ANCHOR ? sound(reference).then(lowpassed) : sound(label));
    const self = player(load, line.seconds, draw), bar = controls(self);
    const buttons = hidden.map(({name, key}, i) => chooser(self, i, name, key));
    const [asked, answers] = kind === "MUSHRA" ? rated() : compared();
    const stop = button("Stop this test", () => {
      if (!confirm("Stop? What you answered in this test is then lost.")) return;
      self.pause();
      session.test = null;
      keep();
      show();
    });

    function rated() {
      const scores = hidden.slice(1).map(({name}) => make("input",
        {type: "range", min: 0, max: 100, value: 50, ariaLabel: `score of ${name}`}));
      const rows = scores.map((score, i) => {
        const points = make("output", {}, score.value);
        score.oninput = () => points.textContent = score.value;
        return [buttons[i + 1], score, points];
      });
      const scale = make("span", {className: "scale"}, ...SCALE.map(word => make("span", {}, word)));
      const next = button("Next", () => answered(scores.map((score, i) => ({take: one.order[i], score: Number(score.value)}))));
      return [make("div", {className: "scores"}, buttons[0], scale, make("span"), ...rows.flat()), [next]];
    }

    function compared() {
      const choices = kind === "ABX" ? ["X is A", "X is B"] : ["A is better", "B is better"];
      return [make("div", {className: "sounds"}, ...buttons), choices.map((text, i) => button(text, () => {
        const answer = [one.a, one.b][i];
        answered([{a: one.a, b: one.b, answer, ...(one.x && {x: one.x, right: Number(answer === one.x)})}]);
      }))];
    }

    function answered(more) {
      const seconds = ((performance.now() - began) / 1000).toFixed(1), {listener} = session;
      self.pause();
      rows.push(...more.map(row => ({room: key, listener, test: kind, trial: at + 1, line: line.id, ...row, seconds})));
      session.test.at++;
      if (session.test.at === trials.length) {
        session.rows.push(...rows);
        session.test = null;
      }
      keep();
      show();
    }

    function draw() {
      bar.draw();
      buttons.forEach((one, i) => set(one, {ariaPressed: String(i === self.chosen)}));
      for (const answer of answers) set(answer, {disabled: self.heard.size < buttons.length});
    }

    const element = make("div", {}, make("h4", {tabIndex: -1}, `${kind}, ${at + 1} of ${trials.length}`),
      make("p", {lang: line.language}, line.text), bar.element, asked, make("p", {className: "answers"}, ...answers, stop),
      make("p", {className: "note"}, "Hear every sound, as often as you like, then answer."));
    listen(element, self, buttons);
    draw();
    return [element];
  }

  show(false);
  return make("details", {className: "tests", open: session.test !== null},
    make("summary", {}, "Blind tests: listen without the names"),
    make("p", {}, "ABX asks whether you can tell two apart, preference which you like better, MUSHRA how good each is beside the ",
      "speech itself. The order is random, what you answered is kept in this browser, and nothing leaves it."), panel);
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
