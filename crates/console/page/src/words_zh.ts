// The page in Chinese.

import type { Breakage } from "./view.ts";
import type { Words } from "./words.ts";

const KEEP_AWAKE = "在桌面中移动鼠标或按任意键即可让它保持唤醒。";

const BREAKAGES: Readonly<Record<Breakage, string>> = {
  refused: "机器的控制台拒绝了连接",
  notRfb: "机器的控制台发来的内容不是 RFB",
};

/** By the reason word. What is missing here is said in English; the tests have all of them. */
const CHINESE_SENTENCES: ReadonlyMap<string, string> = new Map([
  ["ViewerLeft", "您已离开。"],
  ["Internal", "控制台网关出错。请重试；如果一直这样，请告知管理员。"],
  ["Restarting", "控制台网关正在重启。"],
  ["Expired", "会话的时间已到。"],
  ["Revoked", "会话已被撤销。"],
  ["Deleted", "会话已被删除。"],
  ["Idle", "在会话的空闲时限内没有人按键或移动鼠标。"],
  ["TargetGone", "这台机器已被删除，或它的名称现在属于另一台。"],
  ["PolicyChanged", "这台机器的控制台策略不再允许此会话。"],
  ["AccessWithdrawn", "您使用此控制台的权限已被收回。"],
  ["Replaced", "另一位查看者接管了此控制台。"],
  ["Moved", "此控制台已在另一个标签页或窗口中打开。"],
  ["CredentialReused", "让您可以返回的凭据被使用了两次，因此已被收回。请索取新链接。"],
  ["TargetStopped", "这台机器已关机。"],
  ["TargetDisconnected", "这台机器的控制台关闭了连接。"],
  ["TargetUnreachable", "无法连接到这台机器的控制台。"],
  ["TargetRefused", "这台机器的控制台拒绝了网关。"],
  ["InUse", "此控制台只容纳一位查看者，现在已有他人连接，或为断线者保留着位置。"],
  ["TargetNotRunning", "这台机器没有运行。"],
  ["WakeTimeout", "桌面没有及时启动。请重试。"],
  ["TargetFailed", "桌面无法启动：需要更正它的设置。请告知管理员。"],
  ["TargetExpired", "桌面的使用期限已到。"],
  ["TargetHibernated", "桌面已休眠。重新连接即可唤醒。"],
  ["TooManyWaiting", "等待桌面启动的查看者太多。请一分钟后重试。"],
  ["TokenRefused", "访问被拒绝。请索取新令牌。"],
  ["TooManyViewers", "此会话的查看者人数已满。"],
  ["AddressNotAllowed", "此会话不允许从您的地址连接。"],
  ["TransportNotAllowed", "此会话不允许这种客户端。"],
  ["Unavailable", "现在无法检查令牌。请重试。"],
  ["InputNotAllowed", "您在这里只能查看，而 SSH 需要输入的权限。请改用屏幕。"],
  ["ResumeRefused", "没有可以返回的控制台。请用新链接打开。"],
  ["ProtocolError", "客户端违反了协议。"],
  ["MessageNotAllowed", "客户端发送了未经协商的消息。"],
  ["MessageTooLarge", "客户端发送的消息太大。"],
  ["HandshakeTimeout", "客户端连接得太慢。"],
  ["TooManyAttempts", "您在短时间内连接次数过多。请一分钟后重试。"],
  ["ViewerLost", "客户端不再应答。"],
  ["ConnectionLost", "与控制台网关的连接已中断。"],
  ["NoConnection", "无法连接到控制台网关，或者它拒绝了此页面。"],
]);

export const CHINESE: Words = {
  language: "zh",
  labels: {
    "view-only": "仅查看",
    clipboard: "剪贴板",
    fit: "适应窗口",
    "full-screen": "全屏",
    disconnect: "断开连接",
    "clipboard-label": "与机器互传的文本",
    "clipboard-copy": "复制到此设备",
    "clipboard-close": "关闭",
    "link-label": "新的链接或令牌",
    "link-open": "打开",
    licences: "许可证",
  },
  names: {
    tools: "控制台",
    layout: "机器的键盘布局",
    "clipboard-panel": "剪贴板",
    view: "机器的控制台",
    keys: "发送给机器的按键",
  },
  buttons: {
    keyboard: "键盘",
    inputMethod: "输入法",
    send: "发送到机器",
    typeIn: "键入机器",
    stopTyping: "停止键入",
  },
  said: {
    connected: "已连接。",
    connectedSerial: "已连接。如果没有显示内容，请按回车键。",
    connectedViewOnly: "已连接。您只能查看：键盘和鼠标操作不会传给机器。",
    waitingForDesktop: "正在等待桌面。",
    copied: "机器的剪贴板有新文本。",
    sent: "文本已发送到机器。",
    typed: "正在把文本键入机器。",
    stopped: "其余文本不再键入。",
    copiedHere: "文本已复制到此设备。",
    cannotCopy: "浏览器不允许此页面复制。文本已选中，请手动复制。",
    noFullScreen: "浏览器不允许在此处全屏显示。",
  },
  console: "控制台",
  sentence: (why) => CHINESE_SENTENCES.get(why.reason) ?? why.sentence,
  advice: (step, why) => {
    switch (step.kind) {
      case "retry":
      case "return":
      case "renew":
        return "此页面会自动重新连接。";
      case "rest":
        return "网络恢复或您回到此标签页时，页面会重新连接。";
      case "moved":
        return "控制台同时只能在一个标签页中使用。在此处使用会结束另一处的连接。";
      case "over":
        return "此会话不能再打开。要打开另一个会话，请粘贴它的链接。";
      case "ask":
        if (step.again) {
          return "请重新连接，或粘贴新的链接或令牌。";
        }
        return why?.reason === "ResumeRefused"
          ? "控制台只为断线的浏览器保留几分钟，主动离开后则不保留。要继续，请粘贴新的链接或令牌。"
          : "要继续，请粘贴新的链接或令牌。每个链接或令牌只能打开控制台一次，除非另有设定。";
    }
  },
  press: { return: "重新连接", "take back": "在此处使用", renew: "索取新令牌" },
  title: {
    ended: "控制台已结束",
    elsewhere: "此控制台已在别处打开",
    needsLink: "此页面需要一个链接",
    notNow: "控制台暂时不可用",
    noToken: "没有新令牌",
    left: "您已离开控制台",
    ssh: "此链接用于 SSH",
  },
  connecting: "正在连接。",
  comingBack: "正在返回控制台。",
  askingForToken: "正在索取新令牌。",
  again: (sentence, seconds) => `${sentence}将在 ${seconds} 秒后重试。`,
  opensOnce: "控制台的链接只能使用一次。",
  pasteLink: "请粘贴新的链接或令牌。",
  notALink: "这既不是控制台的链接，也不是令牌。",
  connectionClosed: "连接已关闭。",
  unanswered: "显示此控制台的页面没有给出新令牌。",
  notGiven: "没有得到新令牌。",
  sshText: (url) =>
    `浏览器不支持 SSH。请在您的计算机上使用 SSH 客户端：让它的 ProxyCommand 用此链接的令牌，通过 WebSocket 连接到 ${url}。`,
  sshAdvice: "控制台网关的文档给出了命令。要在这里打开屏幕，请粘贴屏幕的链接。",
  broke: (why, said) => `控制台出错：${said ?? BREAKAGES[why]}。`,
  awaited: {
    Asleep: { title: "此桌面正在休眠，正在将它唤醒…", text: "您无需任何操作：桌面一有响应就会显示在这里。" },
    Starting: { title: "桌面的程序正在启动…", text: "此桌面已唤醒，正在准备。一有响应就会显示在这里。" },
  },
  waited: (seconds) => `已等待 ${seconds} 秒。`,
  sleeps: {
    schedule: (at) => `此桌面将按计划于 ${at} 休眠。主目录会保留；请保存打开的内容。`,
    viewOnly: (at) => `如果没有人使用，此桌面将于 ${at} 休眠。您只是查看，这不会让它保持唤醒。`,
    idle: (at) => `因为没有人输入，此桌面将于 ${at} 休眠。${KEEP_AWAKE}`,
    unused: (at) => `如果没有人使用，此桌面将于 ${at} 休眠。${KEEP_AWAKE}`,
  },
  layouts: {
    us: "英语（美国）",
    gb: "英语（英国）",
    de: "德语",
    fr: "法语",
    jp: "日语",
    es: "西班牙语",
    it: "意大利语",
  },
  keysByPlace: "按物理键位发送",
  guest: (layout) => `客户机：${layout}`,
  noKey: (layout, named, more) =>
    `机器的键盘（${layout}）没有能输入 ${named} ${more > 0 ? `以及另外 ${more} 个字符` : ""}的按键，因此略去它们。` +
    "请选择机器所设的键盘，或在机器中用输入法输入。",
  onlyFirst: (limit) => `只键入前 ${limit} 个字符。`,
};
