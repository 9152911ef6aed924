// Records what a real BullMQ leaves in a Redis, and its own counts of it, into ../data/bullmq.json:
//   npm install bullmq ioredis && node bullmq_record.mjs redis://127.0.0.1:6379/0 > ../data/bullmq.json
// (tests/collectors/test_frameworks.py replays it: node is not needed to run the tests).
import { Queue, Worker, MetricsTime } from "bullmq";
import IORedis from "ioredis";

const connection = new IORedis(process.argv[2], { maxRetriesPerRequest: null });
await connection.flushdb();
const queue = new Queue("mail", { connection });
let holding;
const held = new Promise((resolve) => (holding = resolve));
const work = async (job) => {
  if (job.name === "fail") throw new Error("on purpose");
  if (job.name === "hold") {
    holding();
    await new Promise(() => {});
  }
};
for (const name of ["fine", "fail", "fine", "hold", "fine", "fine"]) await queue.add(name, {});
await queue.add("fine", {}, { delay: 3600000 });
await queue.add("fine", {}, { priority: 5 });
new Worker("mail", work, { connection: connection.duplicate(), metrics: { maxDataPoints: MetricsTime.ONE_HOUR } });
await held;

const commands = [];
for (const key of (await connection.keys("bull:*")).sort()) {
  const type = await connection.type(key);
  if (type === "list") commands.push(["RPUSH", key, ...(await connection.lrange(key, 0, -1))]);
  if (type === "string") commands.push(["SET", key, await connection.get(key)]);
  if (type === "hash") commands.push(["HSET", key, ...Object.entries(await connection.hgetall(key)).flat()]);
  if (type === "set") commands.push(["SADD", key, ...(await connection.smembers(key))]);
  if (type === "zset") {
    const pairs = await connection.zrange(key, 0, -1, "WITHSCORES");
    for (let at = 0; at < pairs.length; at += 2) commands.push(["ZADD", key, pairs[at + 1], pairs[at]]);
  }
}
const short = commands.map((command) => command.map((word) => (word.includes("    at ") ? "a stack trace" : word)));
console.log(JSON.stringify({ counts: await queue.getJobCounts(), now: Date.now(), commands: short }, null, 1));
process.exit(0);
