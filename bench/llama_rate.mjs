// llama.cpp's side of quantize.py: node llama_rate.mjs FOLDER MODEL.gguf THREADS
// For each line {"ids": prompt, "tokens": n, "stop": whether to end where the model does}, a line
// {"written": ids, "seconds"}: n tokens, greedily. FOLDER has node_modules/node-llama-cpp. No GPU.
import {createInterface} from "node:readline";
import {readFileSync} from "node:fs";
import {pathToFileURL} from "node:url";

const [folder, path, count] = process.argv.slice(2);
const threads = Number(count), home = `${folder}/node_modules/node-llama-cpp/`;
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(`${home}dist/index.js`));
const {version} = JSON.parse(readFileSync(`${home}package.json`));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads});
const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
const context = await model.createContext({contextSize: model.trainContextSize, threads});
const sequence = context.getSequence();
for await (const line of createInterface({input: process.stdin})) {
    const {ids, tokens, stop} = JSON.parse(line), written = [];
    await sequence.clearHistory();
    const start = performance.now();
    for await (const id of sequence.evaluate(ids, {temperature: 0, yieldEogToken: !stop})) {
        if (written.push(id) >= tokens) break;
    }
    const seconds = (performance.now() - start) / 1000;
    process.stdout.write(JSON.stringify({version, written, seconds}) + "\n");
}
process.exit(0);
