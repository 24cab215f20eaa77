// Node's own HTTP/1 and HTTP/2: a server that answers by path, and clients that each show one thing.
//
//   node node_peers.mjs serve http1|http2          prints its address
//   node node_peers.mjs SCENARIO ADDRESS           says "done", or what went wrong

import assert from "node:assert/strict";
import crypto from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import { createInterface } from "node:readline";

const MIB = 1 << 20;
const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = http2.constants;

// The server: one handler for both versions.

async function answer(request, response) {
  const path = request.url.split("?")[0];
  if (path === "/echo") {
    response.writeHead(200, { "x-method": request.method, "x-length": request.headers["content-length"] ?? "none" });
    request.pipe(response);
  } else if (path === "/trailers") {
    request.resume();
    await once(request, "end");
    response.writeHead(200, { trailer: "x-back" });
    response.write("body");
    response.addTrailers({ "x-back": request.trailers["x-sum"] ?? "none" });
    response.end();
  } else if (path === "/fields") {
    response.writeHead(200, { "set-cookie": ["a=1; path=/", "b=2"], "x-cookie": request.headers.cookie ?? "none" });
    response.end(JSON.stringify(request.headers));
  } else if (path === "/hints") {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    response.end("hinted");
  } else if (path === "/large") {
    response.writeHead(200, { "content-length": 8 * MIB });
    for (let sent = 0; sent < 8; sent++) {
      if (!response.write(Buffer.alloc(MIB, sent))) await once(response, "drain");
    }
    response.end();
  } else if (path === "/endless") {
    response.writeHead(200);
    response.on("error", () => {});
    request.on("aborted", () => process.stdout.write("aborted\n"));
    response.write("begun");
  } else if (path === "/break") {
    response.writeHead(200);
    response.write("some", () => setImmediate(() =>
      response.stream ? response.stream.close(NGHTTP2_INTERNAL_ERROR) : request.socket.destroy()));
  } else if (path === "/leave") {
    // As a server does that is being stopped: no more on this connection.
    response.end("last");
    request.stream?.session.close();
  } else if (path === "/early") {
    response.writeHead(413, { "content-length": 3 });
    response.end("big");
  } else {
    response.end(path);
  }
}

async function serve(version) {
  const server = (version === "http2" ? http2 : http).createServer((request, response) => {
    answer(request, response).catch(() => response.destroy?.());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.stdout.write(`127.0.0.1:${server.address().port}\n`);
}

// The clients.

function start(session, path, fields = {}, options = {}) {
  const stream = session.request({ ":authority": "web", ":path": path, ...fields }, options);
  stream.head = new Promise((resolve, reject) => {
    stream.once("response", resolve);
    stream.once("error", reject);
    stream.once("close", () => reject(new Error(`closed without a head, ${stream.rstCode}`)));
  });
  stream.head.catch(() => {});
  return stream;
}

async function whole(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function get(session, path, fields) {
  const stream = start(session, path, fields);
  return { head: await stream.head, body: (await whole(stream)).toString() };
}

const scenarios = {
  async bodies(session) {
    const sent = crypto.randomBytes(2 * MIB);
    for (const size of [0, 1, 16_384, 65_536, 2 * MIB]) {
      const measured = start(session, "/echo", { ":method": "POST", "content-length": size });
      measured.end(sent.subarray(0, size));
      const head = await measured.head;
      // Of nothing, the length is told only where it is known in time that nothing comes.
      assert.ok(head["x-length"] === `${size}` || (size === 0 && head["x-length"] === "none"), head["x-length"]);
      assert.ok((await whole(measured)).equals(sent.subarray(0, size)), `${size} bytes with their length`);
      const unmeasured = start(session, "/echo", { ":method": "PUT" });
      for (let place = 0; place < size; place += 100_000) unmeasured.write(sent.subarray(place, Math.min(place + 100_000, size)));
      unmeasured.end();
      assert.equal((await unmeasured.head)["x-method"], "PUT");
      assert.ok((await whole(unmeasured)).equals(sent.subarray(0, size)), `${size} bytes without`);
    }
    const large = start(session, "/large");
    assert.equal((await whole(large)).length, 8 * MIB);
    const head = start(session, "/large", { ":method": "HEAD" });
    assert.equal((await head.head)["content-length"], `${8 * MIB}`);
    assert.equal((await whole(head)).length, 0);
  },

  async fields(session) {
    const { head, body } = await get(session, "/fields", { cookie: ["a=1", "b=2"], "x-many": "v".repeat(8000), te: "trailers" });
    assert.deepEqual(head["set-cookie"], ["a=1; path=/", "b=2"]);
    assert.equal(head["x-cookie"], "a=1; b=2");
    const seen = JSON.parse(body);
    assert.equal(seen[":authority"] ?? seen.host, "web");
    assert.equal(seen["x-many"].length, 8000);
    assert.match(seen.via, /conformance/);
  },

  async trailers(session) {
    const stream = start(session, "/trailers", { ":method": "POST" }, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "9" }));
    const trailers = once(stream, "trailers");
    stream.end("with trailers");
    assert.equal((await whole(stream)).toString(), "body");
    assert.equal((await trailers)[0]["x-back"], "9");
  },

  async hints(session) {
    const stream = start(session, "/hints");
    const interim = once(stream, "headers");
    assert.equal((await interim)[0][":status"], 103);
    assert.equal((await interim)[0].link, "</style.css>; rel=preload");
    assert.equal((await stream.head)[":status"], 200);
    assert.equal((await whole(stream)).toString(), "hinted");
  },

  async many(session) {
    const answers = await Promise.all(Array.from({ length: 400 }, (_, number) => get(session, `/${number}`)));
    answers.forEach(({ body }, number) => assert.equal(body, `/${number}`));
  },

  // One of a hundred is not read: node gives no credit for it.
  async stalled(session) {
    const stalled = start(session, "/large");
    await stalled.head;
    stalled.pause();
    const others = Array.from({ length: 99 }, (_, number) => {
      const stream = start(session, "/echo", { ":method": "POST" });
      stream.end(Buffer.alloc(200_000, number));
      return whole(stream);
    });
    (await Promise.all(others)).forEach((body, number) => assert.ok(body.equals(Buffer.alloc(200_000, number))));
    assert.ok(!stalled.readableEnded && stalled.readableLength <= 2 * MIB, `${stalled.readableLength} bytes of the stalled one`);
    process.stdout.write("stalled\n");
    await once(createInterface(process.stdin), "line");
    assert.equal((await whole(stalled)).length, 8 * MIB);
  },

  async ends(session) {
    const cancelled = start(session, "/endless");
    await once(cancelled, "data");
    cancelled.close(NGHTTP2_CANCEL);
    await once(cancelled, "close");
    assert.equal(cancelled.rstCode, NGHTTP2_CANCEL);
    const broken = start(session, "/break");
    await assert.rejects(whole(broken));
    assert.notEqual(broken.rstCode, NGHTTP2_NO_ERROR);
    const early = start(session, "/early", { ":method": "POST" });
    early.on("error", () => {});
    early.write(Buffer.alloc(100_000));
    assert.equal((await early.head)[":status"], 413);
    assert.equal((await whole(early)).toString(), "big");
    assert.equal((await get(session, "/after")).body, "/after");
  },

  async leaving(session) {
    for (let number = 0; number < 30; number++) {
      assert.equal((await get(session, "/leave")).body, "last");
      const answers = await Promise.all(Array.from({ length: 10 }, (_, place) => get(session, `/${place}`)));
      answers.forEach(({ head, body }, place) => assert.deepEqual([head[":status"], body], [200, `/${place}`]));
    }
  },

  async session(session) {
    await session.told;
    assert.equal(session.remoteSettings.maxConcurrentStreams, 100);
    assert.equal(session.remoteSettings.enableConnectProtocol, true);
    await new Promise((resolve, reject) => session.ping(Buffer.from("12345678"), (error, _, payload) =>
      error || payload.toString() !== "12345678" ? reject(error ?? new Error(`${payload}`)) : resolve()));
    session.settings({ initialWindowSize: 1000, maxFrameSize: 65_536, headerTableSize: 0 });
    await once(session, "localSettings");
    assert.equal((await whole(start(session, "/large"))).length, 8 * MIB);
  },

  // Told to go while a stream is open: that is finished, and what is new goes elsewhere.
  async drained(session) {
    const stream = start(session, "/echo", { ":method": "POST" });
    stream.write("first, ");
    await stream.head;
    const goaway = once(session, "goaway");
    process.stdout.write("open\n");
    const [code] = await goaway;
    assert.equal(code, NGHTTP2_NO_ERROR);
    assert.ok(session.closed);
    stream.end("last");
    assert.equal((await whole(stream)).toString(), "first, last");
    if (!session.destroyed) await once(session, "close");
  },
};

const [what, argument] = process.argv.slice(2);
if (what === "serve") {
  await serve(argument);
} else {
  // Megabytes, of what waits to be sent as well.
  const session = http2.connect(`http://${argument}`, { maxSessionMemory: 64 });
  session.told = once(session, "remoteSettings");
  session.on("error", (error) => {
    throw error;
  });
  await once(session, "connect");
  await scenarios[what](session);
  session.close();
  process.stdout.write("done\n");
  process.exit(0);
}
