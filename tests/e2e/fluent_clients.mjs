// Sends events with @fluent-org/logger, the fluent project's own client, in each of its modes, each chunk acknowledged.
// Arguments: port, events in each mode.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES + "/");
const { FluentClient } = require("@fluent-org/logger");
const [port, count] = process.argv.slice(2).map(Number);

for (const eventMode of ["Message", "Forward", "PackedForward", "CompressedPackedForward"]) {
    const client = new FluentClient("s3", {
        socket: { host: "127.0.0.1", port, timeout: 10000 },
        eventMode,
        ack: { ackTimeout: 10000 },
        sendQueueSyncFlushLimit: undefined,
        milliseconds: true,
    });
    const sent = [];
    for (let number = 0; number < count; number++) {
        sent.push(client.emit({ mode: eventMode, n: number, key: "é\n\"" + "x".repeat(number % 900) }));
    }
    await Promise.all(sent);
    await client.shutdown();
}
