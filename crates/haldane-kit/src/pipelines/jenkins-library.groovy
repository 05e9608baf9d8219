// The step `haldaneDeploy` of a shared library; its place is vars/haldaneDeploy.groovy.
//
//     haldaneDeploy(service: 'auth', image: env.IMAGE, namespace: 'orion', file: 'deploy/auth.yaml')
//
// Returns how the rollout ended (`rollout`, `phase`, `message`), or fails the build where it was rolled back.
def call(Map args) {
    for (name in ['service', 'image', 'namespace', 'file']) {
        if (!args[name]) {
            error("haldaneDeploy: ${name} is missing")
        }
    }
    def settings = [
        "SERVICE=${args.service}",
        "IMAGE=${args.image}",
        "NAMESPACE=${args.namespace}",
        "FILE=${args.file}",
        "REASON=${args.reason ?: env.BUILD_URL}",
        "HALDANE_ACTOR=jenkins/${env.BUILD_TAG}",
    ]
    withEnv(settings) {
        withCredentials([file(credentialsId: args.credentialsId ?: 'kubeconfig', variable: 'KUBECONFIG')]) {
            try {
                // 0 promoted, 3 rolled back, 1 failed.
                def code = sh(returnStatus: true, script: '''
                    haldane deploy "$SERVICE" "$IMAGE" -n "$NAMESPACE" -f "$FILE" --reason "$REASON" -o json > haldane-deploy.json
                ''')
                def text = readFile('haldane-deploy.json').trim()
                echo(text)
                if (code == 3) {
                    error("${args.service}: ${args.image} was rolled back")
                }
                if (code != 0) {
                    error("${args.service}: the rollout failed with exit code ${code}")
                }
                return text ? new groovy.json.JsonSlurperClassic().parseText(text) : [:]
            } catch (org.jenkinsci.plugins.workflow.steps.FlowInterruptedException interrupted) {
                // Nobody judges a rollout that was left: all traffic goes back to stable.
                sh '''
                    haldane abort "$SERVICE" -n "$NAMESPACE" --reason 'the build was aborted' -o json
                '''
                throw interrupted
            }
        }
    }
}
